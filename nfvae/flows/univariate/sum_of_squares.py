"""The sum-of-squares polynomial."""

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from nfvae.flows.univariate.base import Shapes
from nfvae.flows.univariate.tails import StraightTails
from nfvae.numerics import bounded

_LARGEST, _SMALLEST = 3.0, 1e-2  # coefficient and slope


class SumOfSquares(StraightTails):
    """The integral of a sum of squared polynomials in [-bound, bound], straight lines outside.

    With v = z/bound and K polynomials p_k(v) = Σ_l a_kl v^l of degree R:

    - *Forward*: y = b + bound ∫_0^v s, a polynomial of degree 2R + 1.
    - *Log-slope*: log s(v), s = ε + (1 - ε) Σ_k p_k².
    - *Inverse*: by Newton's method in a bracket; first derivatives only.
    - *Constraint*: ε = 0.01, the smallest slope; |a_kl| < 3 by a tanh, plus 1/√K for l = 0.

    The reference has the polynomial on the whole line, where it overflows and its slope may vanish.

    Args:
        shift: b with shape (*, D).
        factors: unconstrained a with shape (*, K, R + 1, D).
        bound: half the interval's length.

    Raises:
        ValueError: for a bound that is not positive.

    References:
        Sum-of-Squares Polynomial Flow, arXiv 1905.02325.
    """

    steep: bool = True

    def __init__(self, shift: Tensor, factors: Tensor, bound: float = 5.0) -> None:
        super().__init__(bound)
        self.shift = shift
        polynomials, terms = factors.shape[-3], factors.shape[-2]
        constant = functional.pad(factors.new_full((1, 1), polynomials**-0.5), (0, 0, 0, terms - 1))
        a = bounded(factors, _LARGEST) + constant
        products = torch.einsum("...kid,...kjd->...ijd", a, a) * (1 - _SMALLEST)
        powers = torch.arange(terms, device=a.device)
        places = (powers[:, None] + powers).flatten()
        flat = products.flatten(-3, -2)
        slope = flat.new_zeros(*flat.shape[:-2], 2 * terms - 1, flat.shape[-1]).index_add(-2, places, flat)
        floor = functional.pad(factors.new_full((1, 1), _SMALLEST), (0, 0, 0, 2 * terms - 2))
        self.slope = slope + floor

    @staticmethod
    @override
    def shapes(polynomials: int = 2, terms: int = 4) -> Shapes:
        return {"shift": (), "factors": (polynomials, terms)}

    @override
    def inside(self, z: Tensor) -> tuple[Tensor, Tensor]:
        v = z / self.bound
        y, slope = torch.zeros_like(v), torch.zeros_like(v)
        for power in range(self.slope.shape[-2] - 1, -1, -1):  # Horner's scheme
            factor = self.slope[..., power, :]
            y, slope = y * v + factor / (power + 1), slope * v + factor
        return self.shift + self.bound * v * y, slope.clamp_min(_SMALLEST).log()
