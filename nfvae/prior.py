"""The prior p(z)."""

import torch
from torch import Tensor, nn

from nfvae.distributions import DiagonalNormal


class StandardNormal(nn.Module):
    """The prior N(0, I) of D latent features."""

    zeros: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("zeros", torch.zeros(features), persistent=False)

    def forward(self) -> DiagonalNormal:
        """Return p(z) with event shape (D,)."""
        return DiagonalNormal(self.zeros, torch.ones_like(self.zeros))
