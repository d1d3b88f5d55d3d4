"""Real numbers: location-scale families, with the scale fixed, learned or given by the decoder."""

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent
from typing_extensions import override

from nfvae.models.likelihoods.base import DataSpec, Likelihood, Statistics
from nfvae.networks import Scaling
from nfvae.numerics import at_least_float32, softly_between
from nfvae.registry import check_choice, check_number

SCALES = ("decoder", "element", "shared")
_LARGEST_LOG_SCALE = 7.0


class LocationScale(Likelihood):
    """Independent elements of a location-scale family.

    Locations and scales are in standard deviations of each element of real data, so that no unit matters. Log-densities
    are those of the data themselves: they include the log-determinant of the standardization.

    Args:
        spec: form of the data.
        scale: `decoder` if the decoder gives a scale for each element, `element` for one learned scale per element,
            `shared` for one learned scale, or a number, which is fixed.
        floor: smallest scale. Without it, the scale of a constant element shrinks to zero and its density grows
            without limit.

    Raises:
        ValueError: for an unknown scale, a scale that is not above 0, or a floor that is not.
    """

    is_density = True

    def __init__(self, spec: DataSpec, scale: float | str = "decoder", floor: float = 0.01) -> None:
        super().__init__(spec)
        check_number("floor", floor, above=0, most=1)
        if isinstance(scale, str):
            check_choice("scale", scale, SCALES)
        else:
            check_number("scale", scale, above=0)
        self.outputs, self.floor, self.fixed = 1 + (scale == "decoder"), floor, scale
        self.scaling = Scaling(spec.size) if spec.levels is None else None
        if scale in ("element", "shared"):
            self.raw_scale = nn.Parameter(torch.zeros(spec.size if scale == "element" else 1))

    @abstractmethod
    def elements(self, loc: Tensor, scale: Tensor) -> Distribution:
        """Return the distribution of the elements, with batch shape (*, P)."""

    @override
    def forward(self, raw: Tensor) -> "Independent[Any]":
        raw = at_least_float32(raw)
        loc, scale = raw[..., 0, :], self._scale(raw)
        if self.scaling is not None:
            loc, scale = torch.addcmul(self.scaling.center, self.scaling.spread, loc), scale * self.scaling.spread
        return Independent(self.elements(loc, scale.expand_as(loc)), 1, validate_args=False)

    def _scale(self, raw: Tensor) -> Tensor:
        if not isinstance(self.fixed, str):
            return raw.new_tensor(self.fixed)
        free = raw[..., 1, :] if self.fixed == "decoder" else self.raw_scale
        return softly_between(free, math.log(self.floor), _LARGEST_LOG_SCALE).exp()

    @override
    def check(self, x: Tensor) -> None:
        if not x.isfinite().all():
            raise ValueError("expected finite numbers; got NaN or infinity")

    @override
    def start(self, statistics: Statistics) -> Tensor | None:
        if self.scaling is not None:
            self.scaling.init_from(*statistics)
            return None
        loc, log_scale = statistics.mean, statistics.deviation.clamp_min(self.floor).log()
        return torch.stack([loc, log_scale][: self.outputs])
