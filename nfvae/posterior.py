"""The approximate posterior q(z|x): an encoder's diagonal Gaussian refined by a flow."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nfvae.distributions import DiagonalNormal, FlowDistribution
from nfvae.flows import Flow
from nfvae.networks import mlp

_FIRST_LOG_SCALE = -1.0  # narrower than the prior: latents carry a signal from the first step on


class Posterior(nn.Module):
    """Encode images into q(z|x) (Rezende & Mohamed, 2015).

    An MLP trunk, then one linear head that gives loc, log_scale and the context h; the flow built from h refines
    z_0 ~ N(loc, scale²).

    Args:
        pixels: P.
        flow: the flow; its features and context fix the head's width.
        hidden: widths of the trunk.
        activation: a key of `nfvae.networks.ACTIVATIONS`.
    """

    def __init__(self, pixels: int, flow: Flow, hidden: Sequence[int] = (300, 300), activation: str = "relu") -> None:
        super().__init__()
        self.trunk = mlp(pixels, hidden, activation)
        self.sizes = (flow.features, flow.features, flow.context)
        self.head = nn.Linear(hidden[-1], sum(self.sizes))
        nn.init.constant_(self.head.bias[flow.features : 2 * flow.features].data, _FIRST_LOG_SCALE)
        self.flow = flow

    def forward(self, x: Tensor) -> FlowDistribution:
        """Return q(z|x) with batch shape (B,) for x with shape (B, P)."""
        loc, log_scale, h = self.head(self.trunk(x)).split(self.sizes, -1)
        return FlowDistribution(DiagonalNormal(loc, torch.exp(log_scale)), self.flow(h))
