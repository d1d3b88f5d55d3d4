"""The monotone cubic spline."""

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.flows.univariate.base import Shapes
from nfvae.flows.univariate.bins import Piecewise, find, pick
from nfvae.numerics import monotone_root

_STEEPEST = 2.0  # slope at a knot over the mean slope of a bin beside it; from 3 on, a piece may fall


class CubicSpline(Piecewise):
    """Cubic pieces with continuous slopes over K bins, the identity outside [-bound, bound].

    With mean slopes s_k = h_k/w_k, slopes d_k at the knots and t = (z - z_k)/w_k in bin k:

    - *Forward*: y = y_k + w_k t (d_k + t (3 s_k - 2 d_k - d_{k+1}) + t² (d_k + d_{k+1} - 2 s_k)).
    - *Log-slope*: log(d_k + 2t (3 s_k - 2 d_k - d_{k+1}) + 3t² (d_k + d_{k+1} - 2 s_k)).
    - *Inverse*: t by Newton's method in a bracket; first derivatives only.
    - *Constraint*: widths w and heights h are shares of 2 bound by a softmax. Slopes are those of Steffen's method: the
      slope of the parabola through three knots, at most twice the mean slope of the bins beside; at both ends they are
      1, as outside, with the same limit. So every piece increases.

    Args:
        widths: scores of the bins' widths with shape (*, K, D).
        heights: scores of the bins' heights with shape (*, K, D).
        bound: half the interval's length.

    Raises:
        ValueError: for a bound that is not positive.

    References:
        Cubic-Spline Flows, arXiv 1906.02145.
        A simple method for monotonic interpolation in one dimension, 1990.
    """

    steep: bool = True

    def __init__(self, widths: Tensor, heights: Tensor, bound: float = 5.0) -> None:
        super().__init__(widths.shape[-2], bound)
        self.width, self.height = self.shares(widths), self.shares(heights)
        self.left, self.bottom = self.left_edges(self.width), self.left_edges(self.height)
        self.mean = self.height / self.width
        before, after = self.mean[..., :-1, :], self.mean[..., 1:, :]
        wide_before, wide_after = self.width[..., :-1, :], self.width[..., 1:, :]
        parabola = (before * wide_after + after * wide_before) / (wide_before + wide_after)
        inner = torch.minimum(parabola, _STEEPEST * torch.minimum(before, after))
        first, last = ((_STEEPEST * self.mean[..., [end], :]).clamp_max(1) for end in (0, -1))
        knots = torch.cat([first, inner, last], -2)
        self.start, self.end = knots[..., :-1, :], knots[..., 1:, :]

    @staticmethod
    @override
    def shapes(bins: int = 8) -> Shapes:
        return {"widths": (bins,), "heights": (bins,)}

    @override
    def inside(self, z: Tensor) -> tuple[Tensor, Tensor]:
        left, width, bottom, *slopes = self._pieces(find(z, self.left))
        rise, slope = _cubic((z - left) / width, *slopes)
        return bottom + width * rise, slope.log()

    @override
    def inverse_inside(self, y: Tensor) -> tuple[Tensor, Tensor]:
        left, width, bottom, *slopes = self._pieces(find(y, self.bottom))

        def missing(t: Tensor) -> tuple[Tensor, Tensor]:
            rise, slope = _cubic(t, *slopes)
            return rise - (y - bottom) / width, slope

        zeros = torch.zeros_like(y + width).detach()
        t = monotone_root(missing, zeros, zeros + 1)
        return left + width * t, _cubic(t, *slopes)[1].log()

    def _pieces(self, bins: Tensor) -> tuple[Tensor, ...]:
        return pick(bins, self.left, self.width, self.bottom, self.mean, self.start, self.end)


def _cubic(t: Tensor, mean: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rise of a piece over its width, and its slope."""
    second, third = 3 * mean - 2 * start - end, start + end - 2 * mean
    return t * (start + t * (second + t * third)), start + t * (2 * second + 3 * t * third)
