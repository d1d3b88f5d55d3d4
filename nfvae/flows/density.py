"""The density that a flow without context makes of a free Gaussian."""

import torch
from torch import nn

from nfvae.flows.base import Flow
from nfvae.flows.distribution import DiagonalNormal, FlowDistribution


class FlowDensity(nn.Module):
    """A density of vectors: a free diagonal Gaussian refined by a flow.

    Args:
        flow: the flow, with context 0.

    Raises:
        ValueError: for a flow with a context.

    Example:
        >>> from nfvae import make_flow
        >>> FlowDensity(make_flow("planar", features=2, depth=4))().draw((5,)).log_prob.shape
        torch.Size([5])
    """

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        if flow.context:
            raise ValueError(f"a density takes a flow with context 0; got {flow.context}")
        self.loc = nn.Parameter(torch.zeros(flow.features))
        self.log_scale = nn.Parameter(torch.zeros(flow.features))
        self.flow = flow

    def forward(self) -> FlowDistribution:
        """Return the density, with event shape (D,)."""
        return FlowDistribution(DiagonalNormal(self.loc, self.log_scale.exp()), self.flow())
