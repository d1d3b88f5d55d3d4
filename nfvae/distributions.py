"""The density that a flow makes of a Gaussian."""

import math

import torch
from torch import Tensor
from torch.distributions import Independent, Normal, TransformedDistribution

from nfvae.bijections import Bijection


class DiagonalNormal(Independent):  # type: ignore[type-arg]  # not generic at run time
    """The Gaussian N(loc, diag(scale²)); both tensors with shape (*, D)."""

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        super().__init__(Normal(loc, scale, validate_args=False), 1, validate_args=False)
        self.loc, self.scale = loc, scale

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log N(value) with shape (*), in nats."""
        return self._log_prob_of_noise((value - self.loc) / self.scale)

    def from_noise(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Turn standard normal noise with shape (*, D) into a draw, and give the draw's log-density with it."""
        return torch.addcmul(self.loc, self.scale, noise), self._log_prob_of_noise(noise)

    def _log_prob_of_noise(self, noise: Tensor) -> Tensor:
        normalizer = self.scale.log().sum(-1) + noise.shape[-1] * math.log(2 * math.pi) / 2
        return -noise.square().sum(-1) / 2 - normalizer


class FlowDistribution(TransformedDistribution):
    """A diagonal Gaussian pushed through a bijection.

    A draw and its own density come together from the forward pass alone; the density of a given point goes through
    the exact inverse.

    Args:
        base: distribution of z_0 with event shape (D,).
        bijection: z_0 -> z_K.
    """

    def __init__(self, base: DiagonalNormal, bijection: Bijection) -> None:
        super().__init__(base, [bijection], validate_args=False)
        self.base, self.bijection = base, bijection

    def rsample_and_log_prob(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
        """Draw z_K, differentiably, with log q(z_K).

        Returns:
            z_K with shape (*sample_shape, *batch, D) and log q with shape (*sample_shape, *batch), in nats.
        """
        z, log_q, _ = self.rsample_with_terms(sample_shape)
        return z, log_q

    def rsample_with_terms(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> tuple[Tensor, Tensor, Tensor]:
        """Draw z_K with log q(z_K) and, third, the log|det dz_K/dz_0| contained in it."""
        shape = torch.Size(sample_shape) + self.base.loc.shape
        return self.from_noise(torch.randn(shape, dtype=self.base.loc.dtype, device=self.base.loc.device))

    def from_noise(self, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Turn standard normal noise with shape (*, D) into what `rsample_with_terms` returns."""
        z, log_base = self.base.from_noise(noise)
        z, log_det = self.bijection.forward_and_log_det(z)
        return z, log_base - log_det, log_det

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log q(value) with shape (*), in nats, differentiable in value and parameters."""
        z, log_det = self.bijection.inverse_and_log_det(value)
        return self.base.log_prob(z) + log_det
