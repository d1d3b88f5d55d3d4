"""Priors by name. To add one, write a file in this folder and a line in `PRIORS`."""

from nfvae.models.priors.base import Prior
from nfvae.registry import Registry

__all__ = ["PRIORS", "Prior"]

PRIORS = Registry(
    "prior",
    Prior,  # type: ignore[type-abstract]
    {
        "flow": "nfvae.models.priors.flow:FlowPrior",
        "mixture": "nfvae.models.priors.mixture:GaussianMixture",
        "normal": "nfvae.models.priors.normal:StandardNormal",
        "vamp": "nfvae.models.priors.vamp:VampPrior",
    },
)
