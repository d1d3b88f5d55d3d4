"""A mixture of Gaussians as a prior."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from nfvae.flows import DiagonalNormal
from nfvae.flows.mixture import Mixture
from nfvae.models.likelihoods import DataSpec
from nfvae.models.priors.base import Prior
from nfvae.registry import check_sizes

_SPREAD = 0.5  # initial standard deviation of the means


class GaussianMixture(Prior):
    """A mixture of diagonal Gaussians whose weights, means and scales are trained.

    Args:
        latent: latent size D.
        spec: form of the data; ignored.
        components: number of Gaussians.

    Raises:
        ValueError: for a number of components out of range.
    """

    def __init__(self, latent: int, spec: DataSpec | None = None, components: int = 100) -> None:
        super().__init__()
        check_sizes(components=components)
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(_SPREAD * torch.randn(components, latent))
        self.log_scale = nn.Parameter(torch.zeros(components, latent))

    @override
    def forward(self, *condition: Tensor) -> Mixture:
        return Mixture(DiagonalNormal(self.loc, self.log_scale.exp()), self.logits)
