"""The standard normal prior."""

import torch
from torch import Tensor

from nfvae.flows import DiagonalNormal
from nfvae.models.priors.base import Prior


class StandardNormal(Prior):
    """The prior N(0, I) of D latent features."""

    zeros: Tensor

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.register_buffer("zeros", torch.zeros(latent), persistent=False)

    def forward(self) -> DiagonalNormal:  # noqa: D102
        return DiagonalNormal(self.zeros, torch.ones_like(self.zeros))
