"""No flow at all: the diagonal Gaussian posterior, the control every flow is measured against."""

from torch import Tensor

from nfvae.bijections import Chain
from nfvae.flows.base import Flow


class NoFlow(Flow):
    """The identity, so that the posterior is the diagonal Gaussian of Kingma & Welling (2014)."""

    def forward(self, h: Tensor | None = None) -> Chain:  # noqa: D102
        return Chain([])
