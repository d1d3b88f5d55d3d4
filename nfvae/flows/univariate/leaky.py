"""The leaky rectifier, with a trained slope on the left of its corner."""

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.flows.univariate.base import Shapes, Univariate
from nfvae.numerics import bounded
from nfvae.registry import check_number


class Leaky(Univariate):
    """A leaky rectified linear unit with a trained slope.

    - *Forward*: y = b + a z where z < 0, b + z elsewhere.
    - *Log-slope*: log a or 0.
    - *Inverse*: z = (y - b)/a where y < b, y - b elsewhere.
    - *Constraint*: a = exp(bound tanh(s/bound)).

    Args:
        shift: b with shape (*, D).
        score: s with shape (*, D).
        bound: largest |log a|, positive.

    Raises:
        ValueError: for a bound that is not positive.

    References:
        Understanding Deep Learning, 2023, problem 16.7.
    """

    def __init__(self, shift: Tensor, score: Tensor, bound: float = 3.0) -> None:
        check_number("bound", bound, above=0)
        self.shift, self.log_slope = shift, bounded(score, bound)

    @staticmethod
    @override
    def shapes() -> Shapes:
        return {"shift": (), "score": ()}

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
        return torch.where(side < 0, self.log_slope, 0.0)
