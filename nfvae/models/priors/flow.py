"""A flow over a Gaussian as a prior."""

from typing import Any

from torch import Tensor
from typing_extensions import override

from nfvae.flows import FLOWS, FlowDensity, FlowDistribution
from nfvae.models.likelihoods import DataSpec
from nfvae.models.priors.base import Prior


class FlowPrior(Prior):
    """A Gaussian, initially N(0, I), refined by a flow; with conditions y, both depend on y.

    Training evaluates the density at posterior samples. This is cheap for `maf`, `nsf`, `realnvp` and every flow that
    takes one pass for the density of a point, according to the table of flows.

    Args:
        latent: latent size D.
        spec: form of the data; ignored.
        flow: a name in `nfvae.flows.FLOWS`.
        depth: number of layers of the flow.
        flow_options: further arguments of the flow's class.
        conditions: size C of y; 0 for p(z).

    Raises:
        ValueError: for an unknown name or option, or a value out of range.

    References:
        Improving Latent Variable Models with Flow Priors (VLAE), arXiv 1611.02731.
    """

    takes_condition = True

    def __init__(
        self,
        latent: int,
        spec: DataSpec | None = None,
        flow: str = "maf",
        depth: int = 4,
        flow_options: dict[str, Any] | None = None,
        conditions: int = 0,
    ) -> None:
        super().__init__()
        self.density = FlowDensity(FLOWS.make(flow, flow_options, features=latent, context=conditions, depth=depth))

    @override
    def forward(self, *condition: Tensor) -> FlowDistribution:
        density: FlowDistribution = self.density(*condition)
        return density
