"""The density that a flow makes of a base distribution."""

import torch
from torch import Tensor
from torch.distributions import Distribution, TransformedDistribution

from nfvae.bijections import Bijection


class FlowDistribution(TransformedDistribution):
    """A base distribution of vectors pushed through a bijection.

    A draw and its own density come together from the forward pass alone; the density of a given point goes through
    the exact inverse.

    Args:
        base: distribution of z_0 with event shape (D,).
        bijection: z_0 -> z_K.
    """

    def __init__(self, base: Distribution, bijection: Bijection) -> None:
        super().__init__(base, [bijection], validate_args=False)
        self.bijection = bijection

    def rsample_and_log_prob(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
        """Draw z_K, differentiably, with log q(z_K).

        Returns:
            z_K with shape (*sample_shape, *batch, D) and log q with shape (*sample_shape, *batch), in nats.
        """
        z, log_q, _ = self.rsample_with_terms(sample_shape)
        return z, log_q

    def rsample_with_terms(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> tuple[Tensor, Tensor, Tensor]:
        """Draw z_K with log q(z_K) and, third, the log|det dz_K/dz_0| contained in it."""
        z = self.base_dist.rsample(torch.Size(sample_shape))
        log_base = self.base_dist.log_prob(z)
        z, log_det = self.bijection.forward_and_log_det(z)
        return z, log_base - log_det, log_det

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log q(value) with shape (*), in nats, differentiable in value and parameters."""
        z, log_det = self.bijection.inverse_and_log_det(value)
        return self.base_dist.log_prob(z) + log_det
