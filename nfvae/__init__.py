"""Variational autoencoders whose posterior is a normalizing flow: train, measure, compare."""

from importlib import import_module
from importlib.metadata import version
from typing import Any

from nfvae.distributions import FlowDistribution
from nfvae.divergences import reverse_kl
from nfvae.flows import FLOWS, Flow, make_flow
from nfvae.importance import log_likelihood
from nfvae.vae import VAE, LogTerms

__version__ = version("nfvae")
__all__ = [
    "FLOWS",
    "VAE",
    "BinarizedImages",
    "DensityEstimation",
    "Flow",
    "FlowDistribution",
    "FlowVAE",
    "LogTerms",
    "PosteriorDistillation",
    "ToyVectors",
    "log_likelihood",
    "make_flow",
    "reverse_kl",
]

_ON_FIRST_USE = {  # these import pytorch-lightning
    "BinarizedImages": "nfvae.data",
    "DensityEstimation": "nfvae.density",
    "FlowVAE": "nfvae.training",
    "PosteriorDistillation": "nfvae.distillation",
    "ToyVectors": "nfvae.data",
}


def __getattr__(name: str) -> Any:
    if name not in _ON_FIRST_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ON_FIRST_USE[name]), name)
