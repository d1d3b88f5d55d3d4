"""The approximate posterior q(z|x): an encoder's diagonal Gaussian refined by a flow."""

import torch
from torch import Tensor, nn

from nfvae.flows import DiagonalNormal, Flow, FlowDistribution
from nfvae.models.encoders import Encoder
from nfvae.numerics import at_least_float32, full_precision


class Posterior(nn.Module):
    """Encode images into q(z|x): the flow built from the context h refines z_0 ~ N(loc, scale²).

    Args:
        encoder: gives loc, log_scale and h.
        flow: of as many features as the encoder has latents, and of its context.

    References:
        Variational Inference with Normalizing Flows, arXiv 1505.05770.
    """

    def __init__(self, encoder: Encoder, flow: Flow) -> None:
        super().__init__()
        self.encoder, self.flow = encoder, flow

    def forward(self, x: Tensor) -> FlowDistribution:
        """Return q(z|x) with batch shape (B,) for x with shape (B, P)."""
        loc, log_scale, h = (at_least_float32(value) for value in self.encoder(x))
        with full_precision(x.device):
            return FlowDistribution(DiagonalNormal(loc, torch.exp(log_scale)), self.flow(h))
