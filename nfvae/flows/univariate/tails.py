"""The base of maps that have a formula in an interval, and go on straight outside."""

from abc import abstractmethod

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.flows.univariate.base import Univariate
from nfvae.numerics import monotone_root
from nfvae.registry import check_number


class StraightTails(Univariate):
    """A map with a formula in [-bound, bound], and outside the straight lines that continue it with the same slope.

    Its inverse is found by Newton's method in a bracket, and has first derivatives only.

    Args:
        bound: half the interval's length.

    Raises:
        ValueError: for a bound that is not positive.
    """

    def __init__(self, bound: float) -> None:
        check_number("bound", bound, above=0)
        self.bound = bound

    @abstractmethod
    def inside(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z with shape (*, D) in the interval to y and log dy/dz."""

    @override
    def forward_and_log_slope(self, z: Tensor) -> tuple[Tensor, Tensor]:
        near = z.clamp(-self.bound, self.bound)
        y, log_slope = self.inside(near)
        return y + log_slope.exp() * (z - near), log_slope

    @override
    def inverse_and_log_slope(self, y: Tensor) -> tuple[Tensor, Tensor]:
        ends = y.new_full(y.shape, self.bound)
        near = torch.minimum(torch.maximum(y, self.inside(-ends)[0]), self.inside(ends)[0])

        def missing(z: Tensor) -> tuple[Tensor, Tensor]:
            reached, log_slope = self.inside(z)
            return reached - near, log_slope.exp()

        lower = (-ends).expand_as(near).detach()
        z = monotone_root(missing, lower, -lower)
        log_slope = self.inside(z)[1]
        return z + (-log_slope).exp() * (y - near), -log_slope
