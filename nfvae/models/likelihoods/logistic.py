"""Data with levels: independent elements, each a mixture of discretized logistics."""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent
from torch.nn.functional import logsigmoid
from typing_extensions import override

from nfvae.models.likelihoods.base import DataSpec, Likelihood, Statistics, check_levels, check_on_levels
from nfvae.numerics import at_least_float32
from nfvae.registry import check_sizes

_LEAST_SCALE, _LARGEST_SCALE = 0.1, 1_000.0  # in levels
_NUMBERS = 3  # of a component: weight, location, scale


class Logistic(Likelihood):
    """Independent elements, each a mixture of M logistics rounded to the nearest level.

    The first and the last level take the tails, so that the probabilities of the levels sum to one. The paper's
    dependence of an image's colors on each other is left out.

    Args:
        spec: form of the data, with L levels.
        components: number of logistics M of each element.

    Raises:
        ValueError: for real numbers, or a number of components out of range.

    References:
        PixelCNN++, arXiv 1701.05517.
    """

    def __init__(self, spec: DataSpec, components: int = 5) -> None:
        super().__init__(spec)
        self.levels = check_levels(spec, "logistic", "gaussian")
        check_sizes(components=components)
        self.components, self.outputs = components, _NUMBERS * components

    @override
    def forward(self, raw: Tensor) -> "Independent[Any]":
        numbers = at_least_float32(raw)
        shape = (*numbers.shape[:-2], _NUMBERS, self.components, numbers.shape[-1])
        logits, loc, log_scale = numbers.view(shape).unbind(-3)
        least, most = (math.log(scale / (self.levels - 1)) for scale in (_LEAST_SCALE, _LARGEST_SCALE))
        scale = log_scale.clamp(least, most).exp()
        return Independent(LogisticElements(logits, loc, scale, self.levels), 1, validate_args=False)

    @override
    def check(self, x: Tensor) -> None:
        check_on_levels(x, self.levels)

    @override
    def start(self, statistics: Statistics) -> Tensor:
        """Spread the components around the mean of each element."""
        places = torch.linspace(-1, 1, self.components + 2)[1:-1, None]
        deviation = statistics.deviation.clamp_min(1 / self.levels)
        loc = statistics.mean + 1.5 * places * deviation
        log_scale = (deviation / 2).log().expand_as(loc)
        return torch.cat([torch.zeros_like(loc), loc, log_scale])


class LogisticElements(Distribution):
    """Mixtures of logistics rounded to the values k/(L - 1), k = 0 ... L - 1.

    Args:
        logits: logits of the weights with shape (*, M, P).
        loc: locations with shape (*, M, P).
        scale: scales with shape (*, M, P).
        levels: number of levels L.
    """

    arg_constraints: ClassVar[Any] = {}

    def __init__(self, logits: Tensor, loc: Tensor, scale: Tensor, levels: int) -> None:
        self.logits, self.loc, self.scale, self.levels = logits, loc, scale, levels
        super().__init__(torch.Size([*loc.shape[:-2], loc.shape[-1]]), validate_args=False)

    @override
    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p of each element with shape (*, P), in nats.

        With d the distance from the location and r half a level, both in scales, an inner level has the probability
        σ(d + r) - σ(d - r) = sinh(r) / (cosh(r) + cosh(d)), which is computed without overflow or cancellation. The
        first level has σ(d + r), the last one σ(r - d).
        """
        x, half = value.unsqueeze(-2), 0.5 / (self.levels - 1)
        distance, reach = (x - self.loc) / self.scale, half / self.scale
        size = distance.abs()
        small = torch.exp(-size)
        more = torch.expm1(reach)  # 2 sinh(r) = more + more / (1 + more), without cancellation
        inverse = 1 / (1 + more)
        inner = torch.log((more + more * inverse) / (1 + small * (1 + more + inverse + small))) - size
        is_first, is_last = x <= half, x >= 1 - half
        edge = logsigmoid(reach + torch.where(is_first, distance, -distance))
        log_prob = torch.where(is_first | is_last, edge, inner)
        mixed: Tensor = (self.logits.log_softmax(-2) + log_prob).logsumexp(-2)
        return mixed

    @property
    @override
    def mean(self) -> Tensor:
        """The mean level: the sum over k of P(level ≥ k), divided by L - 1."""
        weights, total = self.logits.softmax(-2), torch.zeros_like(self.loc)
        for level in range(1, self.levels):
            total += torch.sigmoid((self.loc - (level - 0.5) / (self.levels - 1)) / self.scale)
        mean: Tensor = (weights * total).sum(-2) / (self.levels - 1)
        return mean

    @override
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw values with shape (*sample_shape, *, P)."""
        weights = Categorical(logits=self.logits.movedim(-2, -1), validate_args=False)
        chosen = weights.sample(torch.Size(sample_shape))  # type: ignore[no-untyped-call]
        loc, scale = (
            value.expand(*sample_shape, *value.shape).gather(-2, chosen.unsqueeze(-2)).squeeze(-2)
            for value in (self.loc, self.scale)
        )
        uniform = torch.rand_like(loc).clamp(torch.finfo(loc.dtype).tiny, 1 - torch.finfo(loc.dtype).eps)
        drawn = (loc + scale * torch.logit(uniform)) * (self.levels - 1)
        return drawn.round().clamp(0, self.levels - 1) / (self.levels - 1)
