"""The rational-quadratic spline."""

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from nfvae.flows.univariate.base import Shapes
from nfvae.flows.univariate.bins import SMALLEST, Piecewise, find, pick
from nfvae.numerics import shifted_softplus

_SMALLEST_ROOT = 1e-30


class RationalQuadraticSpline(Piecewise):
    """A ratio of quadratics in each of K bins (equation 4 of the reference), the identity outside [-bound, bound].

    With s = h_k/w_k, slopes d_k at the knots, t = (z - z_k)/w_k in bin k and b = s + (d_k + d_{k+1} - 2s) t(1 - t):

    - *Forward*: y = y_k + h_k (s t² + d_k t(1 - t))/b.
    - *Log-slope*: log of s² (d_{k+1} t² + 2 s t(1 - t) + d_k (1 - t)²)/b².
    - *Inverse*: t is a root of a quadratic.
    - *Constraint*: widths w and heights h are shares of 2 bound by a softmax, each at least a thousandth; slopes of the
      inner knots are `shifted_softplus` above a thousandth, and 1 at both ends, as outside.

    Args:
        widths: scores of the bins' widths with shape (*, K, D).
        heights: scores of the bins' heights with shape (*, K, D).
        slopes: unconstrained slopes of the inner knots with shape (*, K - 1, D).
        bound: half the interval's length.

    Raises:
        ValueError: for a bound that is not positive.

    References:
        Neural Spline Flows, arXiv 1906.04032.
    """

    steep: bool = True

    def __init__(self, widths: Tensor, heights: Tensor, slopes: Tensor, bound: float = 5.0) -> None:
        super().__init__(widths.shape[-2], bound)
        self.width, self.height = self.shares(widths), self.shares(heights)
        self.left, self.bottom = self.left_edges(self.width), self.left_edges(self.height)
        inner = SMALLEST + (1 - SMALLEST) * shifted_softplus(slopes)
        knots = functional.pad(inner, (0, 0, 1, 1), value=1.0)
        self.start, self.end = knots[..., :-1, :], knots[..., 1:, :]

    @staticmethod
    @override
    def shapes(bins: int = 8) -> Shapes:
        return {"widths": (bins,), "heights": (bins,), "slopes": (bins - 1,)}

    @override
    def inside(self, z: Tensor) -> tuple[Tensor, Tensor]:
        left, width, bottom, height, start, end = self._pieces(find(z, self.left))
        t = (z - left) / width
        mean = height / width
        mixed = t * (1 - t)
        below = mean + (start + end - 2 * mean) * mixed
        return bottom + height * (mean * t.square() + start * mixed) / below, _log_slope(t, mean, start, end, below)

    @override
    def inverse_inside(self, y: Tensor) -> tuple[Tensor, Tensor]:
        left, width, bottom, height, start, end = self._pieces(find(y, self.bottom))
        mean = height / width
        rise = y - bottom
        bend = rise * (start + end - 2 * mean)
        b, c = height * start - bend, mean * rise
        larger = b.abs() + (b.square() + 4 * (height * mean - b) * c).clamp_min(_SMALLEST_ROOT).sqrt()
        # the two forms of the root, as a = h s - b; each is free of cancellation on its side
        t = torch.where(b >= 0, 2 * c / larger, larger / (2 * (height * mean + b.abs())))
        below = mean + (start + end - 2 * mean) * t * (1 - t)
        return left + width * t, _log_slope(t, mean, start, end, below)

    def _pieces(self, bins: Tensor) -> tuple[Tensor, ...]:
        return pick(bins, self.left, self.width, self.bottom, self.height, self.start, self.end)


def _log_slope(t: Tensor, mean: Tensor, start: Tensor, end: Tensor, below: Tensor) -> Tensor:
    above = end * t.square() + 2 * mean * t * (1 - t) + start * (1 - t).square()
    return (above * (mean / below).square()).log()
