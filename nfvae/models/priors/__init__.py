"""Priors by name. Adding one is a file beside this one and a line in `PRIORS`."""

from nfvae.models.priors.base import Prior
from nfvae.registry import Registry

__all__ = ["PRIORS", "Prior"]

PRIORS = Registry(
    "prior",
    Prior,  # type: ignore[type-abstract]
    {
        "normal": "nfvae.models.priors.normal:StandardNormal",
    },
)
