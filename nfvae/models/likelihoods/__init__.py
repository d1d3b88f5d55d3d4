"""Likelihoods p(x|z) by name. To add one, write a file in this folder and a line here."""

from nfvae.models.likelihoods.base import DataSpec, Likelihood, Statistics
from nfvae.registry import Registry

__all__ = ["LIKELIHOODS", "DataSpec", "Likelihood", "Statistics"]

LIKELIHOODS = Registry(
    "likelihood",
    Likelihood,  # type: ignore[type-abstract]
    {
        "bernoulli": "nfvae.models.likelihoods.bernoulli:Bernoulli",
        "own": "nfvae.models.likelihoods.own:OwnLikelihood",
    },
)
