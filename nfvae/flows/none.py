"""No flow at all: the diagonal Gaussian posterior, the control every flow is measured against."""

from torch import Tensor

from nfvae.flows.base import Flow
from nfvae.flows.bijection import Chain


class NoFlow(Flow):
    """The identity, so that the posterior is a diagonal Gaussian.

    References:
        Auto-Encoding Variational Bayes, arXiv 1312.6114.
    """

    def forward(self, h: Tensor | None = None) -> Chain:  # noqa: D102
        return Chain([])
