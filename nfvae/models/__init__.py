"""The variational autoencoder, usable alone: encoder, flow posterior, decoder and prior, each by name."""

from nfvae.models.contract import check_flow, check_vae
from nfvae.models.decoders import DECODERS, Decoder
from nfvae.models.encoders import ENCODERS, Encoder, Encoding
from nfvae.models.likelihoods import LIKELIHOODS, DataSpec, Likelihood, Statistics
from nfvae.models.likelihoods.bernoulli import BernoulliPixels
from nfvae.models.modes import check_precision, evaluating
from nfvae.models.posterior import Posterior, make_posterior
from nfvae.models.priors import PRIORS, Prior
from nfvae.models.vae import VAE, LogTerms, make_vae

__all__ = [
    "DECODERS",
    "ENCODERS",
    "LIKELIHOODS",
    "PRIORS",
    "VAE",
    "BernoulliPixels",
    "DataSpec",
    "Decoder",
    "Encoder",
    "Encoding",
    "Likelihood",
    "LogTerms",
    "Posterior",
    "Prior",
    "Statistics",
    "check_flow",
    "check_precision",
    "check_vae",
    "evaluating",
    "make_posterior",
    "make_vae",
]
