"""A map in pieces of square roots."""

from torch import Tensor
from typing_extensions import override

from nfvae.flows.univariate.base import Shapes
from nfvae.flows.univariate.bins import Piecewise, find, pick
from nfvae.numerics import bounded

_MOST_BENT = 0.99  # |c|, so that slopes stay between 1/200 and 200 times the mean of a bin
_SMALLEST_ROOT = 1e-30


class SquareRoot(Piecewise):
    """Square roots in K bins of equal width, the identity outside [-bound, bound].

    In bin k, with t = (z - z_k)/w from 0 to 1 and u = (y - y_k)/h_k:

    - *Forward*: u = 2t/(1 - c_k + √((1 - c_k)² + 4 c_k t)), the root of c_k u² + (1 - c_k) u = t.
    - *Log-slope*: log(h_k/w) - log(1 - c_k + 2 c_k u).
    - *Inverse*: t = c_k u² + (1 - c_k) u.
    - *Constraint*: heights h are shares of 2 bound by a softmax; -0.99 < c < 0.99 by a tanh.

    The problem in the reference has c = 1, u = √t, whose slope is infinite at the left end of each bin. With c = 0 a
    piece is straight.

    Args:
        heights: scores of the bins' heights with shape (*, K, D).
        bends: unconstrained c with shape (*, K, D).
        bound: half the interval's length.

    Raises:
        ValueError: for a bound that is not positive.

    References:
        Understanding Deep Learning, 2023, problem 16.9.
    """

    steep: bool = True

    def __init__(self, heights: Tensor, bends: Tensor, bound: float = 5.0) -> None:
        super().__init__(heights.shape[-2], bound)
        self.height, self.bend = self.shares(heights), bounded(bends, _MOST_BENT)
        self.width = 2 * bound / self.bins
        self.bottom = self.left_edges(self.height)
        self.left = self.left_edges(self.height.new_full((self.bins, 1), self.width))

    @staticmethod
    @override
    def shapes(bins: int = 8) -> Shapes:
        return {"heights": (bins,), "bends": (bins,)}

    @override
    def inside(self, z: Tensor) -> tuple[Tensor, Tensor]:
        bins = find(z, self.left)
        height, bend, bottom = pick(bins, self.height, self.bend, self.bottom)
        t = (z + self.bound) / self.width - bins.squeeze(-2)
        root = ((1 - bend).square() + 4 * bend * t).clamp_min(_SMALLEST_ROOT).sqrt()  # 1 - c + 2 c u
        return bottom + height * 2 * t / (1 - bend + root), (height / self.width).log() - root.log()

    @override
    def inverse_inside(self, y: Tensor) -> tuple[Tensor, Tensor]:
        bins = find(y, self.bottom)
        height, bend, bottom = pick(bins, self.height, self.bend, self.bottom)
        u = (y - bottom) / height
        t = u * (1 - bend + bend * u)
        z = (t + bins.squeeze(-2)) * self.width - self.bound
        return z, (height / self.width).log() - (1 - bend + 2 * bend * u).log()
