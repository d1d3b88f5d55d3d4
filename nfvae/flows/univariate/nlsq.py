"""The nonlinear squared map."""

import math

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.flows.univariate.base import Shapes, Univariate
from nfvae.numerics import bounded
from nfvae.registry import check_number

_LARGEST_BUMP = 8 / 9 * math.sqrt(3)  # beyond which the map would fall somewhere
_SHARE = 0.999  # of it, so that slopes stay above a thousandth of the scale


class NonlinearSquared(Univariate):
    """An affine map with a bump, which can push probability away from a point or towards it.

    With u = d z + g:

    - *Forward*: y = b + (a/d) (u - g + c/(1 + u²)), so a z + b far from the bump.
    - *Log-slope*: log a + log(1 - 2 c u/(1 + u²)²).
    - *Inverse*: u is the real root of a cubic, u³ - r u² + u + c - r = 0 with r = (y - b) d/a + g. Its discriminant
      is written without the terms that cancel: ((1 + r²)² - c (r³ + 9r))/27 + c²/4.
    - *Constraint*: a and d are exp(bound tanh(s/bound)); |c| < 0.999 · 8√3/9 by a tanh.

    Args:
        shift: b with shape (*, D).
        scores: s of a and d with shape (*, 2, D).
        center: g with shape (*, D).
        bump: unconstrained c with shape (*, D).
        bound: largest |log a| and |log d|, positive.

    Raises:
        ValueError: for a bound that is not positive.

    References:
        Latent Normalizing Flows for Discrete Sequences, arXiv 1901.10548.
    """

    steep: bool = True

    def __init__(self, shift: Tensor, scores: Tensor, center: Tensor, bump: Tensor, bound: float = 3.0) -> None:
        check_number("bound", bound, above=0)
        self.log_scale, self.log_width = bounded(scores, bound).unbind(-2)
        self.shift, self.center, self.bump = shift, center, bounded(bump, _SHARE * _LARGEST_BUMP)

    @staticmethod
    @override
    def shapes() -> Shapes:
        return {"shift": (), "scores": (2,), "center": (), "bump": ()}

    @override
    def forward_and_log_slope(self, z: Tensor) -> tuple[Tensor, Tensor]:
        u = torch.addcmul(self.center, self.log_width.exp(), z)
        bump = self.bump * _bell(u) * (self.log_scale - self.log_width).exp()
        return self.shift + self.log_scale.exp() * z + bump, self._log_slope(u)

    @override
    def inverse_and_log_slope(self, y: Tensor) -> tuple[Tensor, Tensor]:
        r = torch.addcmul(self.center, (self.log_width - self.log_scale).exp(), y - self.shift)
        u = _root(r, self.bump)
        bump = self.bump * _bell(u) * (-self.log_width).exp()
        return (y - self.shift) * (-self.log_scale).exp() - bump, -self._log_slope(u)

    def _log_slope(self, u: Tensor) -> Tensor:
        return self.log_scale + torch.log1p(-2 * self.bump * (u * _bell(u)) * _bell(u))


def _bell(u: Tensor) -> Tensor:
    return (1 + u.square()).reciprocal()


def _root(r: Tensor, c: Tensor) -> Tensor:
    """Solve u + c/(1 + u²) = r: Cardano's formula, with the larger of its two cube roots and the other by division."""
    half = r**3 / 27 + r / 3 - c / 2
    bell = _bell(r)  # of which no power overflows
    inside = (1 - c * (r * bell) * ((r.square() + 9) * bell)) / 27 + (c * bell).square() / 4
    root = inside.clamp_min(0).sqrt() / bell
    larger = (half.abs() + root) ** (1 / 3) * torch.where(half < 0, -1.0, 1.0)
    return larger + (r.square() / 9 - 1 / 3) / larger + r / 3
