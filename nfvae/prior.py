"""The prior p(z)."""

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal


class StandardNormal(nn.Module):
    """The prior N(0, I) of D latent features."""

    zeros: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("zeros", torch.zeros(features), persistent=False)

    def forward(self) -> "Independent[Normal]":
        """Return p(z) with event shape (D,)."""
        return Independent(Normal(self.zeros, torch.ones_like(self.zeros), validate_args=False), 1, validate_args=False)
