"""Binary data: independent Bernoulli pixels, from logits."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli as _Bernoulli
from torch.distributions import Independent
from torch.distributions.utils import lazy_property
from torch.nn.functional import softplus
from typing_extensions import override

from nfvae.models.likelihoods.base import DataSpec, Likelihood, Statistics
from nfvae.numerics import at_least_float32

_FACTORS = 120  # per product, each at least 1/2, so that it stays within float32
_IN_CACHE = 200_000  # pixels that stay in a processor's cache between passes


_LEAST_MEAN = 1e-3  # smallest pixel mean for the initial output bias


class Bernoulli(Likelihood):
    """Independent Bernoulli pixels, given by logits.

    Args:
        spec: form of the data, with two levels.

    Raises:
        ValueError: for any other number of levels.
    """

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec)
        if spec.levels != 2:
            instead = "gaussian" if spec.levels is None else "logistic"
            raise ValueError(
                f"the likelihood bernoulli takes binary data; got {spec.noun} of shape {spec}: "
                f"take --model.likelihood {instead}"
            )

    @override
    def forward(self, raw: Tensor) -> "BernoulliPixels":
        return BernoulliPixels(raw.squeeze(-2))

    @override
    def check(self, x: Tensor) -> None:
        if not ((x == 0) | (x == 1)).all():
            raise ValueError(
                f"expected binary images; got values from {x.min():g} to {x.max():g}: "
                "binarize gray ones first, as torch.bernoulli(gray) for gray in [0, 1]"
            )

    @override
    def start(self, statistics: Statistics) -> Tensor:
        return torch.logit(statistics.mean, eps=_LEAST_MEAN)[None]


class BernoulliPixels(Independent):  # type: ignore[type-arg]  # not generic at run time
    """Independent Bernoulli pixels, given by logits with shape (*, P); results are at least float32."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__(_Pixels(logits=logits, validate_args=False), 1, validate_args=False)
        self.logits = logits

    @override
    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(value) with shape (*), in nats, for pixels with shape (*, P); differentiable in both.

        Formula: Σ ((x - 1/2) l - |l|/2) + log Π sigmoid(|l|). One logarithm for many pixels takes a fraction of the
        time of a softplus for each, at the same precision. Transforms of `torch.func` and exports use the softplus.
        """
        if value.shape[-1:] != self.logits.shape[-1:]:
            raise ValueError(f"expected data with shape (*, {self.logits.shape[-1]}); got {tuple(value.shape)}")
        x = value if value.is_floating_point() else value.to(self.logits.dtype)
        if torch._C._are_functorch_transforms_active() or torch.compiler.is_exporting():
            logits = at_least_float32(self.logits)
            return (x * logits - softplus(logits)).sum(-1)
        log_prob: Tensor = _BernoulliLogProb.apply(self.logits, x)
        return log_prob

    @override
    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> "BernoulliPixels":
        """Return the same pixels with another batch shape, as in `torch.distributions`."""
        return BernoulliPixels(self.logits.expand(*batch_shape, -1))


class _Pixels(_Bernoulli):
    @lazy_property
    @override
    def probs(self) -> Tensor:
        return torch.sigmoid(at_least_float32(self.logits))


class _BernoulliLogProb(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: Any, logits: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(logits, x)
        if not _in_blocks(logits, x):
            return _log_prob(logits, x)
        cut = logits.reshape(-1, *x.shape)
        log_prob = torch.empty(
            cut.shape[:-1], dtype=torch.promote_types(torch.promote_types(logits.dtype, torch.float32), x.dtype)
        )
        for block in _blocks(cut.shape):
            log_prob[block] = _log_prob(cut[block], x[block[1]])
        return log_prob.view(logits.shape[:-1])

    @staticmethod
    @override
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        logits, x = ctx.saved_tensors
        of_logits, of_x = ctx.needs_input_grad
        by_x = (grad.unsqueeze(-1) * at_least_float32(logits)).sum_to_size(x.shape) if of_x else None
        return _by_logits(logits, x, grad) if of_logits else None, by_x


def _by_logits(logits: Tensor, x: Tensor, grad: Tensor) -> Tensor:
    if torch.is_grad_enabled() or not _in_blocks(logits, x):
        return grad.unsqueeze(-1) * (x - torch.sigmoid(at_least_float32(logits)))
    cut, minus = logits.reshape(-1, *x.shape), -grad.reshape(-1, len(x), 1)
    slope = torch.empty_like(cut)
    for block in _blocks(cut.shape):
        slope[block] = torch.sigmoid(at_least_float32(cut[block])).sub_(x[block[1]]).mul_(minus[block])
    return slope.view(logits.shape)


def _in_blocks(logits: Tensor, x: Tensor) -> bool:
    """Return whether to process the pixels in blocks that stay in a processor's cache between passes."""
    fits = x.ndim == 2 and logits.shape[-2:] == x.shape and logits.numel() > _IN_CACHE
    return fits and logits.device.type == "cpu" and not torch.compiler.is_compiling()


def _blocks(shape: torch.Size) -> Iterator[tuple[slice, slice]]:
    """Cut K samples of B images with P pixels into blocks."""
    samples, images, pixels = shape
    rows = max(1, _IN_CACHE // pixels)
    some = max(1, rows // images)
    for sample in range(0, samples, some):
        for image in range(0, images, rows):
            yield slice(sample, sample + some), slice(image, image + rows)


def _log_prob(logits: Tensor, x: Tensor) -> Tensor:
    logits, pixels = at_least_float32(logits), logits.shape[-1]
    products = next((n for n in range(1, pixels + 1) if pixels % n == 0 and pixels // n <= _FACTORS), 1)
    size = logits.abs()
    linear = torch.addcmul(size, logits, 2 * x - 1, value=-1.0).sum(-1) / -2
    return linear + size.sigmoid_().view(*logits.shape[:-1], products, pixels // products).prod(-1).log_().sum(-1)
