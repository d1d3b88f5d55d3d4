"""The variational autoencoder: three densities, evaluated together."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nfvae.decoder import BernoulliDecoder
from nfvae.posterior import Posterior
from nfvae.prior import StandardNormal


class LogTerms(NamedTuple):
    """Log-densities of K posterior samples for each of B images; each with shape (K, B), in nats.

    Attributes:
        likelihood: log p(x|z).
        prior: log p(z).
        posterior: log q(z|x).
        log_det: log|det dz_K/dz_0| of the flow, already contained in `posterior`.
    """

    likelihood: Tensor
    prior: Tensor
    posterior: Tensor
    log_det: Tensor

    @property
    def log_weight(self) -> Tensor:
        """The log importance weight log p(x, z) - log q(z|x); its mean over samples estimates the ELBO."""
        return self.likelihood + self.prior - self.posterior

    @property
    def kl(self) -> Tensor:
        """The one-sample estimate log q(z|x) - log p(z) of KL(q(z|x) || p(z))."""
        return self.posterior - self.prior


class VAE(nn.Module):
    """A latent-variable model p(z) p(x|z) with an amortised posterior q(z|x) (Kingma & Welling, 2014)."""

    def __init__(self, posterior: Posterior, decoder: BernoulliDecoder, prior: StandardNormal) -> None:
        super().__init__()
        self.posterior, self.decoder, self.prior = posterior, decoder, prior

    def forward(self, x: Tensor, samples: int = 1) -> LogTerms:
        """Draw samples from q(z|x) and evaluate every log-density at them.

        Args:
            x: binarized images with shape (B, P), of the model's floating type.
            samples: K, the number of posterior samples an image.

        Returns:
            The terms, each with shape (K, B), in nats.
        """
        return self.log_terms(x, *self.posterior(x).rsample_with_terms((samples,)))

    def log_terms(self, x: Tensor, z: Tensor, log_q: Tensor, log_det: Tensor) -> LogTerms:
        """Evaluate every log-density at posterior samples z with shape (K, B, D), given log q and log_det of each."""
        return LogTerms(self.decoder(z).log_prob(x), self.prior().log_prob(z), log_q, log_det)

    @torch.no_grad()
    def sample(self, count: int) -> Tensor:
        """Draw images from the model: pixel probabilities with shape (count, P), not yet binarized."""
        probabilities: Tensor = self.decoder(self.prior().sample((count,))).mean
        return probabilities

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Decode one posterior sample an image: pixel probabilities with shape (B, P)."""
        probabilities: Tensor = self.decoder(self.posterior(x).rsample()).mean
        return probabilities
