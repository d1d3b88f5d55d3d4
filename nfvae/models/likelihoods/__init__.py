"""Likelihoods p(x|z) by name. To add one, write a file in this folder and a line here."""

from nfvae.models.likelihoods.base import DataSpec, Likelihood, Statistics
from nfvae.registry import Registry

__all__ = ["LIKELIHOODS", "DataSpec", "Likelihood", "Statistics"]

LIKELIHOODS = Registry(
    "likelihood",
    Likelihood,  # type: ignore[type-abstract]
    {
        "bernoulli": "nfvae.models.likelihoods.bernoulli:Bernoulli",
        "beta": "nfvae.models.likelihoods.beta:Beta",
        "categorical": "nfvae.models.likelihoods.categorical:Categorical",
        "continuous_bernoulli": "nfvae.models.likelihoods.continuous_bernoulli:ContinuousBernoulli",
        "gaussian": "nfvae.models.likelihoods.gaussian:Gaussian",
        "laplace": "nfvae.models.likelihoods.laplace:Laplace",
        "logistic": "nfvae.models.likelihoods.logistic:Logistic",
        "own": "nfvae.models.likelihoods.own:OwnLikelihood",
        "student": "nfvae.models.likelihoods.student:Student",
    },
)
