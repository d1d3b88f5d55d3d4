"""The leaky rectifier, with a slope of its own on either side of a corner."""

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.flows.univariate.base import Shapes, Univariate
from nfvae.numerics import bounded
from nfvae.registry import check_number


class Leaky(Univariate):
    """A leaky rectified linear unit with trained slopes.

    - *Forward*: y = b + a_1 z where z < 0, b + a_2 z elsewhere.
    - *Log-slope*: log a_1 or log a_2.
    - *Inverse*: z = (y - b)/a_1 where y < b, (y - b)/a_2 elsewhere.
    - *Constraint*: a = exp(bound tanh(s/bound)).

    Args:
        shift: b with shape (*, D).
        scores: s with shape (*, 2, D).
        bound: largest |log a|, positive.

    Raises:
        ValueError: for a bound that is not positive.

    References:
        Understanding Deep Learning, 2023, problem 16.7.
    """

    def __init__(self, shift: Tensor, scores: Tensor, bound: float = 3.0) -> None:
        check_number("bound", bound, above=0)
        self.shift, self.log_slopes = shift, bounded(scores, bound)

    @staticmethod
    @override
    def shapes() -> Shapes:
        return {"shift": (), "scores": (2,)}

    @override
    def forward_and_log_slope(self, z: Tensor) -> tuple[Tensor, Tensor]:
        log_slope = self._log_slope(z)
        return self.shift + log_slope.exp() * z, log_slope

    @override
    def inverse_and_log_slope(self, y: Tensor) -> tuple[Tensor, Tensor]:
        rest = y - self.shift
        log_slope = self._log_slope(rest)
        return rest * (-log_slope).exp(), -log_slope

    def _log_slope(self, side: Tensor) -> Tensor:
        return torch.where(side < 0, self.log_slopes[..., 0, :], self.log_slopes[..., 1, :])
