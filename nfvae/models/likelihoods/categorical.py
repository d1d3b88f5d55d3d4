"""Data with levels: independent categorical elements, one logit per level."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Categorical as _Categorical
from torch.distributions import Distribution, Independent
from typing_extensions import override

from nfvae.models.likelihoods.base import DataSpec, Likelihood, Statistics, check_levels, check_on_levels
from nfvae.numerics import at_least_float32

_MOST_LEVELS = 256


class Categorical(Likelihood):
    """Independent elements with a free probability for each level, given by logits.

    The decoder gives L numbers per element, so for 256 levels its output layer is large: `logistic` is much cheaper.

    Args:
        spec: form of the data, with L levels, at most 256.

    Raises:
        ValueError: for real numbers, or more levels.
    """

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec)
        self.outputs = check_levels(spec, "categorical", "gaussian")
        if self.outputs > _MOST_LEVELS:
            raise ValueError(f"the likelihood categorical takes at most {_MOST_LEVELS} levels; got {self.outputs}")

    @override
    def forward(self, raw: Tensor) -> "Independent[Any]":
        return Independent(CategoricalElements(at_least_float32(raw)), 1, validate_args=False)

    @override
    def check(self, x: Tensor) -> None:
        check_on_levels(x, self.outputs)

    @override
    def start(self, statistics: Statistics) -> Tensor:
        level = torch.linspace(0, 1, self.outputs)[:, None]
        spread = statistics.deviation.clamp_min(1 / self.outputs)
        return -((level - statistics.mean) / spread).square() / 2


class CategoricalElements(Distribution):
    """Categorical variables with values k/(L - 1), given by logits with shape (*, L, P)."""

    arg_constraints: ClassVar[Any] = {}

    def __init__(self, logits: Tensor) -> None:
        self.logits, self.levels = logits, logits.shape[-2]
        super().__init__(torch.Size([*logits.shape[:-2], logits.shape[-1]]), validate_args=False)

    @override
    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p of each element with shape (*, P), in nats."""
        shape = torch.broadcast_shapes(value.shape, self.batch_shape)  # type: ignore[no-untyped-call]
        place = (value * (self.levels - 1)).round().long().expand(shape).unsqueeze(-2)
        logits = self.logits.expand(*shape[:-1], *self.logits.shape[-2:])
        chosen: Tensor = logits.gather(-2, place).squeeze(-2)
        return chosen - self.logits.logsumexp(-2)

    @property
    @override
    def mean(self) -> Tensor:
        levels = torch.linspace(0, 1, self.levels, dtype=self.logits.dtype, device=self.logits.device)
        mean: Tensor = (self.logits.softmax(-2) * levels[:, None]).sum(-2)
        return mean

    @property
    @override
    def mode(self) -> Tensor:
        """The most probable level of each element."""
        return self.logits.argmax(-2).to(self.logits) / (self.levels - 1)

    @override
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw values with shape (*sample_shape, *, P)."""
        levels = _Categorical(logits=self.logits.movedim(-2, -1), validate_args=False)
        place: Tensor = levels.sample(torch.Size(sample_shape))  # type: ignore[no-untyped-call]
        return place.to(self.logits) / (self.levels - 1)
