"""The density of a learned Gaussian under a flow without context."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from nfvae.flows.actnorm import ScaleShift, moments
from nfvae.flows.base import Flow
from nfvae.flows.bijection import Chain
from nfvae.flows.distribution import DiagonalNormal, FlowDistribution

_ROUNDING = 1e-7  # relative deviation below which a coordinate counts as constant


class FlowDensity(nn.Module):
    """A density of vectors: a learned diagonal Gaussian refined by a flow.

    Flows of affine layers overflow on data far from zero. With `standardize`, the flow sees data with mean 0 and
    deviation 1, as measured by `init_from`. Log-densities remain those of the original data: they include the
    log-determinant of the standardization.

    Args:
        flow: the flow, with context 0.
        standardize: whether data are standardized; before `init_from` they are unchanged.

    Raises:
        ValueError: for a flow with a context, or a `standardize` that is not a bool.

    Example:
        >>> from nfvae import make_flow
        >>> FlowDensity(make_flow("planar", features=2, depth=4))().draw((5,)).log_prob.shape
        torch.Size([5])
    """

    center: Tensor
    spread: Tensor
    started: Tensor

    def __init__(self, flow: Flow, standardize: bool = False) -> None:
        super().__init__()
        if not isinstance(standardize, bool):
            raise ValueError(f"standardize must be true or false; got {standardize!r}")
        if flow.context:
            raise ValueError(f"a density takes a flow with context 0; got {flow.context}")
        self.loc = nn.Parameter(torch.zeros(flow.features))
        self.log_scale = nn.Parameter(torch.zeros(flow.features))
        self.flow, self.standardizes = flow, standardize
        if standardize:
            self.register_buffer("center", torch.zeros(flow.features))
            self.register_buffer("spread", torch.ones(flow.features))
            self.register_buffer("started", torch.tensor(False))

    def init_from(self, data: Tensor) -> None:
        """Measure mean and deviation of data with shape (N, D), once; a constant coordinate is only shifted."""
        if self.standardizes and not self.started:
            center, spread = moments(data)
            constant = spread <= _ROUNDING * center.abs()
            self.center.copy_(center)
            self.spread.copy_(torch.where(constant, 1.0, spread))
            self.started.fill_(True)

    @override
    def forward(self) -> FlowDistribution:
        """Return the density, with event shape (D,)."""
        bijection = self.flow()
        if self.standardizes:
            bijection = Chain([bijection, ScaleShift(self.spread.log(), self.center)])
        return FlowDistribution(DiagonalNormal(self.loc, self.log_scale.exp()), bijection)
