"""A map in quadratic pieces, whose slope is piecewise linear and continuous."""

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from nfvae.flows.univariate.base import Shapes
from nfvae.flows.univariate.bins import SMALLEST, Piecewise, find, pick
from nfvae.numerics import bounded

_BOUND = 10.0  # largest |log slope| of a knot before normalization
_SMALLEST_ROOT = 1e-30


class PiecewiseQuadratic(Piecewise):
    """Quadratic pieces over K bins (section 4.2 of the reference), the identity outside [-bound, bound].

    With widths w_k, slopes v_k at the knots and t = (z - z_k)/w_k in bin k:

    - *Forward*: y = y_k + w_k (v_k t + (v_{k+1} - v_k) t²/2).
    - *Log-slope*: log(v_k + (v_{k+1} - v_k) t), continuous.
    - *Inverse*: t = 2c/(v_k + √(v_k² + 2 (v_{k+1} - v_k) c)) with c = (y - y_k)/w_k: the root without cancellation,
      valid for v_k = v_{k+1} too.
    - *Constraint*: widths are shares of 2 bound by a softmax. The slopes are 1 at both ends, as outside; those of
      the inner knots are ε + (1 - ε) e^{u_j} T/S with S = Σ e^{u_j} m_j, T = Σ m_j and m_j the mean width of the bins
      beside knot j, so that the map reaches from -bound to bound.

    The reference maps [0, 1] onto itself; here it is [-bound, bound], with the identity outside.

    Args:
        widths: scores of the bins' widths with shape (*, K, D).
        slopes: u of the inner knots with shape (*, K - 1, D).
        bound: half the interval's length.

    Raises:
        ValueError: for a bound that is not positive.

    References:
        Neural Importance Sampling, arXiv 1808.03856.
    """

    def __init__(self, widths: Tensor, slopes: Tensor, bound: float = 5.0) -> None:
        super().__init__(widths.shape[-2], bound)
        self.width = self.shares(widths)
        self.left = self.left_edges(self.width)
        across = (self.width[..., 1:, :] + self.width[..., :-1, :]) / 2
        raw = torch.exp(bounded(slopes, _BOUND))
        level = across.sum(-2, keepdim=True) / (raw * across).sum(-2, keepdim=True)
        knots = functional.pad(SMALLEST + (1 - SMALLEST) * raw * level, (0, 0, 1, 1), value=1.0)
        self.start, self.end = knots[..., :-1, :], knots[..., 1:, :]
        self.bottom = self.left_edges(self.width * (self.start + self.end) / 2)

    @staticmethod
    @override
    def shapes(bins: int = 8) -> Shapes:
        return {"widths": (bins,), "slopes": (bins - 1,)}

    @override
    def inside(self, z: Tensor) -> tuple[Tensor, Tensor]:
        left, width, bottom, start, end = self._pieces(find(z, self.left))
        t = (z - left) / width
        bend = end - start
        return bottom + width * t * (start + bend * t / 2), (start + bend * t).log()

    @override
    def inverse_inside(self, y: Tensor) -> tuple[Tensor, Tensor]:
        left, width, bottom, start, end = self._pieces(find(y, self.bottom))
        rise = (y - bottom) / width
        slope = (start.square() + 2 * (end - start) * rise).clamp_min(_SMALLEST_ROOT).sqrt()
        return left + width * 2 * rise / (start + slope), slope.log()

    def _pieces(self, bins: Tensor) -> tuple[Tensor, ...]:
        return pick(bins, self.left, self.width, self.bottom, self.start, self.end)
