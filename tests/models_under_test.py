"""Small models for the tests, one of them with a known evidence."""

import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal

from nfvae.decoder import BernoulliDecoder
from nfvae.distributions import DiagonalNormal, FlowDistribution
from nfvae.flows import make_flow
from nfvae.flows.cholesky import LowerTriangularAffine
from nfvae.posterior import Posterior
from nfvae.prior import StandardNormal
from nfvae.vae import VAE
from tests.flows_under_test import SMALL, random_flow

PIXELS = 12


def small_vae(name="planar", features=3, context=4, depth=2):
    flow = make_flow(name, features, context, depth, **SMALL.get(name, {}))
    return VAE(Posterior(PIXELS, flow, [16]), BernoulliDecoder(features, PIXELS, [16]), StandardNormal(features))


def binary(batch):
    return torch.bernoulli(torch.full((batch, PIXELS), 0.4))


class LinearGaussian(nn.Module):
    """p(x|z) = N(Wz + c, s²), whose evidence and posterior are Gaussian (Tipping & Bishop, 1999)."""

    def __init__(self, features=3, pixels=6, noise=0.5):
        super().__init__()
        self.weight = torch.randn(pixels, features, dtype=torch.float64)
        self.offset, self.noise = torch.randn(pixels, dtype=torch.float64), noise

    def forward(self, z):
        return Independent(Normal(z @ self.weight.T + self.offset, self.noise), 1)

    def evidence(self, x):
        covariance = self.weight @ self.weight.T + self.noise**2 * torch.eye(len(self.offset), dtype=torch.float64)
        return MultivariateNormal(self.offset, covariance).log_prob(x)

    def posterior(self, x):
        """The exact posterior, as a standard normal pushed through a lower-triangular affine map."""
        features = self.weight.shape[1]
        precision = torch.eye(features, dtype=torch.float64) + self.weight.T @ self.weight / self.noise**2
        mean = (x - self.offset) @ self.weight @ precision.inverse() / self.noise**2
        factor = torch.linalg.cholesky(precision.inverse())
        base = DiagonalNormal(torch.zeros_like(mean), torch.ones_like(mean))
        return FlowDistribution(base, LowerTriangularAffine(factor, mean))


def exact_vae():
    """A VAE with its exact posterior, and its decoder."""
    decoder = LinearGaussian()
    return VAE(decoder.posterior, decoder, StandardNormal(3).double()), decoder


def constant_vae(name):
    """A VAE with a random posterior, whose decoder gives every image the likelihood 2^-P whatever z is."""
    vae = small_vae(name, features=2)
    vae.posterior.flow = random_flow(name, 2, 4, 2, gain=0.5, dtype=torch.float32)
    nn.init.zeros_(vae.decoder.head.weight)
    with torch.no_grad():
        vae.posterior.head.bias[2:4] = 1.5  # wider than the prior, so that the weights have a variance
    return vae
