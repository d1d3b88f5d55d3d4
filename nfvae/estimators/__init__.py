"""What is computed from log-densities: bounds, divergences, importance-sampled likelihoods."""

from nfvae.estimators.bounds import check_bound, elbo, iwae
from nfvae.estimators.divergences import reverse_kl
from nfvae.estimators.importance import Estimate, k_values, log_likelihood, log_weights
from nfvae.estimators.objectives import OBJECTIVES, Objective, make_objective
from nfvae.estimators.pareto import pareto_khat

__all__ = [
    "OBJECTIVES",
    "Estimate",
    "Objective",
    "check_bound",
    "elbo",
    "iwae",
    "k_values",
    "log_likelihood",
    "log_weights",
    "make_objective",
    "pareto_khat",
    "reverse_kl",
]
