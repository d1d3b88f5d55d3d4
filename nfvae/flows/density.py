"""The density of a learned base under a flow."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from typing_extensions import override

from nfvae.flows.actnorm import ScaleShift, moments
from nfvae.flows.base import Flow, check_context
from nfvae.flows.bases import Base, NormalBase
from nfvae.flows.bijection import Bijection, Chain
from nfvae.flows.distribution import FlowDistribution
from nfvae.networks import Linear, Scaling


class FlowDensity(nn.Module):
    """A density of vectors: a learned base, usually a diagonal Gaussian, refined by a flow.

    Flows of affine layers overflow on data far from zero. With `standardize`, the flow sees data with mean 0 and
    deviation 1, as measured by `init_from`. Log-densities remain those of the original data: they include the
    log-determinants of the standardization and of the map onto the support.

    Args:
        flow: the flow; with a context of size C, the density is p(x|y) for conditions y with shape (*, C), and location
            and scale of the base are linear in them.
        standardize: whether data are standardized; before `init_from` they are unchanged.
        base: the density before the flow; None for a Gaussian.
        support: map from the real line onto the support of the data; None for the real line.

    Raises:
        ValueError: for a `standardize` that is not a bool.

    Example:
        >>> from nfvae import make_flow
        >>> FlowDensity(make_flow("planar", features=2, depth=4))().draw((5,)).log_prob.shape
        torch.Size([5])
    """

    zeros: Tensor

    def __init__(
        self, flow: Flow, standardize: bool = False, base: Base | None = None, support: Bijection | None = None
    ) -> None:
        super().__init__()
        if not isinstance(standardize, bool):
            raise ValueError(f"standardize must be true or false; got {standardize!r}")
        self.flow, self.base, self.support = flow, NormalBase(flow.features) if base is None else base, support
        self.register_buffer("zeros", torch.zeros(flow.features), persistent=False)
        self.loc = nn.Parameter(torch.zeros(flow.features)) if self.base.is_located else None
        self.log_scale = nn.Parameter(torch.zeros(flow.features)) if self.base.is_located else None
        self.by_condition = Linear(flow.context, 2 * flow.features, bias=False) if flow.context else None
        if self.by_condition is not None:
            nn.init.zeros_(self.by_condition.weight)
        self.scaling = Scaling(flow.features) if standardize else None

    @torch.no_grad()
    def init_from(self, data: Tensor, condition: Tensor | None = None) -> None:
        """Measure mean and deviation of data with shape (N, D), and initialize the base, each once.

        Raises:
            ValueError: for data outside the support.
        """
        inner = data if self.support is None else self.support.inverse_and_log_det(data)[0]
        if not inner.isfinite().all():
            reach = f"from {data.min():g} to {data.max():g}"
            raise ValueError(f"the data go {reach}: not all are inside the support of the density")
        if self.scaling is not None:
            if not self.scaling.started:
                self.scaling.init_from(*moments(inner))
            inner = self.scaling(inner)
        if self.base.awaits_data:
            self.base.init_from(self.flow(condition).inverse_and_log_det(inner)[0])

    @override
    def forward(self, condition: Tensor | None = None) -> FlowDistribution:
        """Return p(x) with event shape (D,), or p(x|y) with batch shape (*) for conditions y with shape (*, C).

        Raises:
            ValueError: for conditions of another size, or none where C > 0.
        """
        parts: list[Bijection] = [self.flow(condition)]
        if self.scaling is not None:
            parts.append(ScaleShift(self.scaling.spread.log(), self.scaling.center))
        if self.support is not None:
            parts.append(self.support)
        return FlowDistribution(self._base(condition), Chain(parts) if len(parts) > 1 else parts[0])

    def _base(self, condition: Tensor | None) -> Distribution:
        """Return the density before the flow, whose location and log scale are linear in the condition."""
        loc = self.zeros if self.loc is None else self.loc
        log_scale = self.zeros if self.log_scale is None else self.log_scale
        if self.by_condition is not None:
            shift = self.by_condition(check_context(condition, self.flow.context))
            loc, log_scale = loc + shift[..., : loc.numel()], log_scale + shift[..., loc.numel() :]
        density: Distribution = self.base(loc, log_scale.exp())
        return density

    def log_prob(self, rows: Any) -> Tensor:
        """Return log p(x), or log p(x|y), in nats, with shape (*); -inf for x outside the support.

        Args:
            rows: x with shape (*, D), followed by conditions if C > 0: shape (*, D + C).
        """
        size = self.flow.features
        condition = rows[..., size:] if self.flow.context else None
        x = rows[..., :size] if self.flow.context else rows
        log_prob: Tensor = self(condition).log_prob(x)
        if self.support is None:
            return log_prob
        is_inside = self.support.inverse_and_log_det(x)[0].isfinite().all(-1)
        return torch.where(is_inside, log_prob, -torch.inf)
