"""A flow over a Gaussian as a prior."""

from collections.abc import Sequence
from typing import Any

from typing_extensions import override

from nfvae.flows import FLOWS, FlowDensity, FlowDistribution
from nfvae.models.priors.base import Prior


class FlowPrior(Prior):
    """A Gaussian, initially N(0, I), refined by a flow without context.

    Training evaluates the density at posterior samples. This is cheap for `maf`, `nsf`, `realnvp` and every flow that
    takes one pass for the density of a point, according to the table of flows.

    Args:
        latent: latent size D.
        shape: shape of an image; ignored.
        flow: a name in `nfvae.flows.FLOWS`.
        depth: number of layers of the flow.
        flow_options: further arguments of the flow's class.

    Raises:
        ValueError: for an unknown name or option, or a value out of range.

    References:
        Improving Latent Variable Models with Flow Priors (VLAE), arXiv 1611.02731.
    """

    def __init__(
        self,
        latent: int,
        shape: Sequence[int] = (),
        flow: str = "maf",
        depth: int = 4,
        flow_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.density = FlowDensity(FLOWS.make(flow, flow_options, features=latent, context=0, depth=depth))

    @override
    def forward(self) -> FlowDistribution:
        density: FlowDistribution = self.density()
        return density
