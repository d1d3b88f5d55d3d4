"""The standard normal prior."""

from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.flows import DiagonalNormal
from nfvae.models.priors.base import Prior


class StandardNormal(Prior):
    """The prior N(0, I).

    Args:
        latent: latent size D.
        shape: shape of an image; ignored.
    """

    zeros: Tensor

    def __init__(self, latent: int, shape: Sequence[int] = ()) -> None:
        super().__init__()
        self.register_buffer("zeros", torch.zeros(latent), persistent=False)

    @override
    def forward(self) -> DiagonalNormal:
        return DiagonalNormal(self.zeros, torch.ones_like(self.zeros))
