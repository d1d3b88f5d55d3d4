"""No flow: the diagonal Gaussian posterior, the baseline for every flow."""

from torch import Tensor
from typing_extensions import override

from nfvae.flows.base import Flow, Given
from nfvae.flows.bijection import Identity


class NoFlow(Flow):
    """The identity, so that the posterior is a diagonal Gaussian.

    References:
        Auto-Encoding Variational Bayes, arXiv 1312.6114.
    """

    @override
    def given(self, h: Tensor | None) -> Given:
        return {}

    @override
    def build(self, given: Given) -> Identity:
        return Identity((self.features,))
