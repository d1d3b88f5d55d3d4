"""The standard normal prior, or a Gaussian that depends on a condition."""

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.flows import DiagonalNormal, Parameters
from nfvae.models.likelihoods import DataSpec
from nfvae.models.priors.base import Prior


class StandardNormal(Prior):
    """The prior N(0, I); with conditions y, N(loc(y), diag(scale(y)²)) with loc and log scale linear in y.

    Args:
        latent: latent size D.
        spec: form of the data; ignored.
        conditions: size C of y; 0 for N(0, I).
    """

    takes_condition = True
    zeros: Tensor

    def __init__(self, latent: int, spec: DataSpec | None = None, conditions: int = 0) -> None:
        super().__init__()
        self.register_buffer("zeros", torch.zeros(latent), persistent=False)
        self.head = Parameters({"loc": (latent,), "log_scale": (latent,)}, conditions) if conditions else None

    @override
    def forward(self, *condition: Tensor) -> DiagonalNormal:
        if self.head is None:
            return DiagonalNormal(self.zeros, torch.ones_like(self.zeros))
        found = self.head(*condition)
        return DiagonalNormal(found["loc"], found["log_scale"].exp())
