"""Estimates computed from log-densities: bounds, divergences, importance-sampled likelihoods."""

from nfvae.estimators.annealed import (
    BUDGETS,
    AnnealedEstimate,
    Normalizer,
    anneal,
    annealed_log_likelihood,
    importance_normalizer,
)
from nfvae.estimators.bounds import check_bound, elbo, iwae
from nfvae.estimators.classes import Calibration, calibration, class_log_likelihoods, class_probabilities
from nfvae.estimators.divergences import KL_GRADIENTS, reverse_kl
from nfvae.estimators.gaps import GapEstimate, inference_gaps
from nfvae.estimators.gradients import GRADIENTS, Gradient, path_draw
from nfvae.estimators.importance import PROPOSALS, Estimate, k_values, log_likelihood, log_weights
from nfvae.estimators.imputation import Imputation, impute
from nfvae.estimators.objectives import OBJECTIVES, Objective, make_objective
from nfvae.estimators.pareto import pareto_khat
from nfvae.estimators.sandwich import SandwichEstimate, Simulated, sandwich, simulate

__all__ = [
    "BUDGETS",
    "GRADIENTS",
    "KL_GRADIENTS",
    "OBJECTIVES",
    "PROPOSALS",
    "AnnealedEstimate",
    "Calibration",
    "Estimate",
    "GapEstimate",
    "Gradient",
    "Imputation",
    "Normalizer",
    "Objective",
    "SandwichEstimate",
    "Simulated",
    "anneal",
    "annealed_log_likelihood",
    "calibration",
    "check_bound",
    "class_log_likelihoods",
    "class_probabilities",
    "elbo",
    "importance_normalizer",
    "impute",
    "inference_gaps",
    "iwae",
    "k_values",
    "log_likelihood",
    "log_weights",
    "make_objective",
    "pareto_khat",
    "path_draw",
    "reverse_kl",
    "sandwich",
    "simulate",
]
