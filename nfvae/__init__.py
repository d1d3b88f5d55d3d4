"""Variational autoencoders whose posterior is a normalizing flow: train, measure, compare."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nfvae.version import __version__

if TYPE_CHECKING:
    from nfvae.data import DataModule
    from nfvae.estimators import (
        anneal,
        annealed_log_likelihood,
        elbo,
        impute,
        inference_gaps,
        iwae,
        log_likelihood,
        reverse_kl,
        sandwich,
        simulate,
    )
    from nfvae.flows import FLOWS, Bijection, Flow, FlowDensity, FlowDistribution, make_flow
    from nfvae.models import VAE, LogTerms, make_vae
    from nfvae.runs import Run
    from nfvae.training import (
        DensityDistillation,
        DensityEstimation,
        EnergyEstimation,
        FlowVAE,
        PosteriorDistillation,
    )

__all__ = [
    "FLOWS",
    "VAE",
    "Bijection",
    "DataModule",
    "DensityDistillation",
    "DensityEstimation",
    "EnergyEstimation",
    "Flow",
    "FlowDensity",
    "FlowDistribution",
    "FlowVAE",
    "LogTerms",
    "PosteriorDistillation",
    "Run",
    "__version__",
    "anneal",
    "annealed_log_likelihood",
    "elbo",
    "impute",
    "inference_gaps",
    "iwae",
    "log_likelihood",
    "make_flow",
    "make_vae",
    "reverse_kl",
    "sandwich",
    "simulate",
]

_HOMES = {  # imported on first use
    "nfvae.flows": ("FLOWS", "Bijection", "Flow", "FlowDensity", "FlowDistribution", "make_flow"),
    "nfvae.models": ("VAE", "LogTerms", "make_vae"),
    "nfvae.estimators": (
        *("anneal", "annealed_log_likelihood", "elbo", "impute", "inference_gaps", "iwae", "log_likelihood"),
        *("reverse_kl", "sandwich", "simulate"),
    ),
    "nfvae.data": ("DataModule",),
    "nfvae.runs": ("Run",),
    "nfvae.training": (
        *("DensityDistillation", "DensityEstimation", "EnergyEstimation", "FlowVAE"),
        "PosteriorDistillation",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
