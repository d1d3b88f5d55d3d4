"""The shift, which preserves volume."""

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.flows.univariate.base import Shapes, Univariate


class Shift(Univariate):
    """Add a number.

    - *Forward*: y = z + b.
    - *Log-slope*: 0.
    - *Inverse*: z = y - b.
    - *Constraint*: none.

    Args:
        shift: b with shape (*, D).

    References:
        NICE: Non-linear Independent Components Estimation, arXiv 1410.8516.
    """

    def __init__(self, shift: Tensor) -> None:
        self.shift = shift

    @staticmethod
    @override
    def shapes() -> Shapes:
        return {"shift": ()}

    @override
    def forward_and_log_slope(self, z: Tensor) -> tuple[Tensor, Tensor]:
        y = z + self.shift
        return y, torch.zeros_like(y)

    @override
    def inverse_and_log_slope(self, y: Tensor) -> tuple[Tensor, Tensor]:
        z = y - self.shift
        return z, torch.zeros_like(z)
