"""Numbers in [0, 1]: independent Beta elements."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Beta as _Beta
from torch.distributions import Independent
from torch.nn.functional import softplus
from typing_extensions import override

from nfvae.models.likelihoods.base import DataSpec, Likelihood, Statistics
from nfvae.numerics import at_least_float32

_LEAST, _MOST = 1e-3, 1e4  # of the two parameters


class Beta(Likelihood):
    """Independent Beta elements, whose two positive parameters the decoder gives.

    A Beta density can be infinite at 0 and 1, where most pixels of a drawing lie. So values k/(L - 1) of data with L
    levels are moved to the centers (k + 1/2)/L of their levels, and the density is that of the moved values, times
    their change of scale. Real numbers must lie strictly between 0 and 1.

    Args:
        spec: form of the data, in [0, 1].
    """

    is_density, outputs = True, 2
    fill = 0.5

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec)
        self.levels = spec.levels

    @override
    def forward(self, raw: Tensor) -> "Independent[Any]":
        first, second = (_LEAST + softplus(at_least_float32(raw)).clamp_max(_MOST)).unbind(-2)
        return Independent(BetaElements(first, second, self.levels), 1, validate_args=False)

    @override
    def check(self, x: Tensor) -> None:
        half = 0 if self.levels is None else 0.5 / (self.levels - 1)
        is_inside = (x >= -half) & (x <= 1 + half) if self.levels else (x > 0) & (x < 1)
        if not is_inside.all():
            ends = "from 0 to 1" if self.levels else "strictly between 0 and 1, where a Beta is finite"
            raise ValueError(f"expected numbers {ends}; got values from {x.min():g} to {x.max():g}")

    @override
    def start(self, statistics: Statistics) -> Tensor:
        """Match mean and deviation."""
        mean = statistics.mean.clamp(0.01, 0.99)
        variance = torch.minimum(statistics.deviation.square().clamp_min(1e-4), 0.5 * mean * (1 - mean))
        total = mean * (1 - mean) / variance - 1
        parameters = torch.stack([mean * total, (1 - mean) * total])
        return parameters + torch.log(-torch.expm1(-parameters))  # the inverse of softplus


def _share(levels: int | None) -> float:
    """Return the width to which the interval [0, 1] is moved."""
    return 1.0 if levels is None else (levels - 1) / levels


def moved_inside(value: Tensor, levels: int | None) -> Tensor:
    """Move values k/(L - 1) to the centers (k + 1/2)/L of L levels; real numbers, for which L is None, stay."""
    return value * _share(levels) + (1 - _share(levels)) / 2


class BetaElements(_Beta):
    """Beta variables, moved from the centers of L levels to the values k/(L - 1); unmoved if L is None."""

    def __init__(self, first: Tensor, second: Tensor, levels: int | None) -> None:
        super().__init__(first, second, validate_args=False)
        self.levels = levels

    def _back(self, moved: Tensor) -> Tensor:
        return (moved - (1 - _share(self.levels)) / 2) / _share(self.levels)

    @override
    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p of each element with shape (*, P), in nats."""
        moved = moved_inside(value, self.levels).clamp(torch.finfo(value.dtype).tiny, 1 - torch.finfo(value.dtype).eps)
        log_prob: Tensor = super().log_prob(moved)  # type: ignore[no-untyped-call]
        return log_prob + math.log(_share(self.levels))

    @property
    @override
    def mean(self) -> Tensor:
        return self._back(super().mean)

    @property
    @override
    def mode(self) -> Tensor:
        """The value of largest density."""
        return self._back(super().mode)

    @override
    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw values with shape (*sample_shape, *, P)."""
        return self._back(super().rsample(torch.Size(sample_shape)))
