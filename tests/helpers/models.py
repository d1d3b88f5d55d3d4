"""Small models for the tests, one of them with a known evidence."""

import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal

from nfvae.flows import DiagonalNormal, FlowDistribution
from nfvae.flows.cholesky import LowerTriangularAffine
from nfvae.flows.planar import Planar
from nfvae.models import VAE, DataSpec, Posterior
from nfvae.models.decoders.mlp import MLPDecoder
from nfvae.models.encoders.mlp import MLPEncoder
from nfvae.models.likelihoods.bernoulli import Bernoulli
from nfvae.models.priors.normal import StandardNormal
from tests.helpers.flows import random_flow, small_flow

PIXELS = 12


def small_vae(case="planar", features=3, context=4, depth=2, prior=None):
    flow, shape = small_flow(case, features, context, depth), (PIXELS,)
    posterior = Posterior(MLPEncoder(shape, features, context, [16]), flow)
    decoder, likelihood = MLPDecoder(features, shape, hidden=[16]), Bernoulli(DataSpec(shape))
    return VAE(posterior, decoder, prior or StandardNormal(features), likelihood)


def binary(batch):
    return torch.bernoulli(torch.full((batch, PIXELS), 0.4))


class LinearGaussian(nn.Module):
    """p(x|z) = N(Wz + c, s²), whose evidence and posterior are Gaussian (Tipping & Bishop, 1999).

    The prior is standard normal, or one with a mean and a covariance.
    """

    def __init__(self, features=3, pixels=6, noise=0.5, mean=None, covariance=None):
        super().__init__()
        self.mean = torch.zeros(features, dtype=torch.float64) if mean is None else mean
        self.covariance = torch.eye(features, dtype=torch.float64) if covariance is None else covariance
        self.weight = torch.randn(pixels, features, dtype=torch.float64)
        self.offset, self.noise = torch.randn(pixels, dtype=torch.float64), noise

    def forward(self, z):
        return Independent(Normal(z @ self.weight.T + self.offset, self.noise), 1)

    def evidence(self, x):
        covariance = self.weight @ self.covariance @ self.weight.T + self.noise**2 * torch.eye(
            len(self.offset), dtype=torch.float64
        )
        return MultivariateNormal(self.offset + self.weight @ self.mean, covariance).log_prob(x)

    def posterior(self, x):
        """The exact posterior, as a standard normal pushed through a lower-triangular affine map."""
        own = self.covariance.inverse()
        precision = own + self.weight.T @ self.weight / self.noise**2
        mean = ((x - self.offset) @ self.weight / self.noise**2 + own @ self.mean) @ precision.inverse()
        factor = torch.linalg.cholesky(precision.inverse())
        base = DiagonalNormal(torch.zeros_like(mean), torch.ones_like(mean))
        return FlowDistribution(base, LowerTriangularAffine(factor, mean))


def exact_vae(prior=None, **gaussian):
    """A VAE with its exact posterior, and its decoder; `gaussian` is the mean and covariance of a prior."""
    decoder = LinearGaussian(**gaussian)
    return VAE(decoder.posterior, decoder, (prior or StandardNormal(3)).double()), decoder


def constant_vae(name, prior=None):
    """A VAE with a random posterior, whose decoder gives every image the likelihood 2^-P whatever z is."""
    vae = small_vae(name, features=2, prior=prior)
    vae.posterior.flow = random_flow(name, 2, 4, 2, gain=0.5, dtype=torch.float32)
    nn.init.zeros_(vae.decoder.head.weight)
    with torch.no_grad():
        vae.posterior.encoder.head.bias[2:4] = 1.5  # wider than the prior, so that the weights have a variance
    return vae


class SquashedPlanar(Planar):
    """The planar map as several libraries have it: û left out, so many points share an image."""

    @staticmethod
    def constrain(u, w, b):
        return {"u": u, "w": w, "b": b, "slope": (w * u).sum(-1)}

    def _log_det(self, t):
        return (1 + self.slope * (1 - t.square())).abs().log()
