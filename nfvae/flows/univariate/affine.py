"""The affine map, which can stretch and narrow."""

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.flows.univariate.base import ScaleAndShift, Shapes
from nfvae.numerics import bounded
from nfvae.registry import check_number


class Affine(ScaleAndShift):
    """Scale and shift, as in masked autoregressive flows, but with a bounded scale.

    - *Constraint*: a = exp(bound tanh(s/bound)).

    Args:
        shift: b with shape (*, D).
        score: s with shape (*, D).
        bound: largest |log a|, positive.

    Raises:
        ValueError: for a bound that is not positive.

    References:
        Masked Autoregressive Flow for Density Estimation, arXiv 1705.07057.
    """

    def __init__(self, shift: Tensor, score: Tensor, bound: float = 3.0) -> None:
        check_number("bound", bound, above=0)
        self.log_scale = bounded(score, bound)
        self.scale = torch.exp(self.log_scale)
        self.shift = shift

    @staticmethod
    @override
    def shapes() -> Shapes:
        return {"shift": (), "score": ()}
