"""A map in linear pieces."""

from torch import Tensor
from typing_extensions import override

from nfvae.flows.univariate.base import Shapes
from nfvae.flows.univariate.bins import Piecewise, find, pick


class PiecewiseLinear(Piecewise):
    """Linear pieces over K bins of equal width (section 4.1 of the reference), the identity outside [-bound, bound].

    - *Forward*: y = y_k + s_k (z - z_k) in bin k, s_k its slope.
    - *Log-slope*: log s_k, which jumps between bins.
    - *Inverse*: z = z_k + (y - y_k)/s_k.
    - *Constraint*: the heights of the bins are shares of 2 bound, by a softmax, each at least a thousandth of it.

    The reference maps [0, 1] onto itself; here it is [-bound, bound], with the identity outside.

    Args:
        heights: scores of the bins' heights with shape (*, K, D).
        bound: half the interval's length.

    Raises:
        ValueError: for a bound that is not positive.

    References:
        Neural Importance Sampling, arXiv 1808.03856.
    """

    def __init__(self, heights: Tensor, bound: float = 5.0) -> None:
        super().__init__(heights.shape[-2], bound)
        self.width = 2 * bound / self.bins
        self.height = self.shares(heights)
        self.bottom = self.left_edges(self.height)

    @staticmethod
    @override
    def shapes(bins: int = 16) -> Shapes:
        return {"heights": (bins,)}

    @override
    def inside(self, z: Tensor) -> tuple[Tensor, Tensor]:
        place = (z + self.bound) / self.width
        bins = place.detach().long().clamp(0, self.bins - 1)
        bottom, height = pick(bins.unsqueeze(-2), self.bottom, self.height)
        return bottom + (place - bins) * height, (height / self.width).log()

    @override
    def inverse_inside(self, y: Tensor) -> tuple[Tensor, Tensor]:
        bins = find(y, self.bottom)
        bottom, height = pick(bins, self.bottom, self.height)
        place = bins.squeeze(-2) + (y - bottom) / height
        return place * self.width - self.bound, (height / self.width).log()
