"""Standardization by the mean and the deviation of training data."""

import torch
from torch import Tensor, nn
from typing_extensions import override

_ROUNDING = 1e-7  # deviation relative to the mean, below which an element counts as constant


class Scaling(nn.Module):
    """Standardize vectors; a buffer keeps mean and deviation, which are measured once.

    Args:
        size: number of elements, P.
    """

    center: Tensor
    spread: Tensor
    started: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(size))
        self.register_buffer("spread", torch.ones(size))
        self.register_buffer("started", torch.tensor(False))

    def init_from(self, mean: Tensor, deviation: Tensor) -> None:
        """Set mean and deviation with shape (P,), unless they are set; a constant element is only shifted."""
        if not self.started:
            self.center.copy_(mean)
            self.spread.copy_(torch.where(deviation <= _ROUNDING * mean.abs(), 1.0, deviation))
            self.started.fill_(True)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Return (x - mean) / deviation for x with shape (*, P)."""
        return (x - self.center) / self.spread
