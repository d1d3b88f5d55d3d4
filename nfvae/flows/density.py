"""The density of a learned Gaussian under a flow."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from nfvae.flows.actnorm import ScaleShift, moments
from nfvae.flows.base import Flow, check_context
from nfvae.flows.bijection import Chain
from nfvae.flows.distribution import DiagonalNormal, FlowDistribution
from nfvae.networks import Linear, Scaling


class FlowDensity(nn.Module):
    """A density of vectors: a learned diagonal Gaussian refined by a flow.

    Flows of affine layers overflow on data far from zero. With `standardize`, the flow sees data with mean 0 and
    deviation 1, as measured by `init_from`. Log-densities remain those of the original data: they include the
    log-determinant of the standardization.

    Args:
        flow: the flow; with a context of size C, the density is p(x|y) for conditions y with shape (*, C), and the
            Gaussian is linear in them.
        standardize: whether data are standardized; before `init_from` they are unchanged.

    Raises:
        ValueError: for a `standardize` that is not a bool.

    Example:
        >>> from nfvae import make_flow
        >>> FlowDensity(make_flow("planar", features=2, depth=4))().draw((5,)).log_prob.shape
        torch.Size([5])
    """

    def __init__(self, flow: Flow, standardize: bool = False) -> None:
        super().__init__()
        if not isinstance(standardize, bool):
            raise ValueError(f"standardize must be true or false; got {standardize!r}")
        self.flow = flow
        self.loc = nn.Parameter(torch.zeros(flow.features))
        self.log_scale = nn.Parameter(torch.zeros(flow.features))
        self.by_condition = Linear(flow.context, 2 * flow.features, bias=False) if flow.context else None
        if self.by_condition is not None:
            nn.init.zeros_(self.by_condition.weight)
        self.scaling = Scaling(flow.features) if standardize else None

    def init_from(self, data: Tensor) -> None:
        """Measure mean and deviation of data with shape (N, D), once; a constant coordinate is only shifted."""
        if self.scaling is not None and not self.scaling.started:
            self.scaling.init_from(*moments(data))

    @override
    def forward(self, condition: Tensor | None = None) -> FlowDistribution:
        """Return p(x) with event shape (D,), or p(x|y) with batch shape (*) for conditions y with shape (*, C).

        Raises:
            ValueError: for conditions of another size, or none where C > 0.
        """
        bijection, base = self.flow(condition), self.base(condition)
        if self.scaling is not None:
            bijection = Chain([bijection, ScaleShift(self.scaling.spread.log(), self.scaling.center)])
        return FlowDistribution(base, bijection)

    def base(self, condition: Tensor | None) -> DiagonalNormal:
        """Return the Gaussian before the flow, whose loc and log scale are linear in the condition."""
        loc, log_scale = self.loc, self.log_scale
        if self.by_condition is not None:
            shift = self.by_condition(check_context(condition, self.flow.context))
            loc, log_scale = loc + shift[..., : loc.numel()], log_scale + shift[..., loc.numel() :]
        return DiagonalNormal(loc, log_scale.exp())
