"""No flow at all: the diagonal Gaussian posterior, the control every flow is measured against."""

from torch import Tensor
from typing_extensions import override

from nfvae.flows.base import Flow, Given
from nfvae.flows.bijection import Bijection


class Identity(Bijection):
    """Leave points as they are.

    - *Forward*: y = z.
    - *Log-determinant*: 0.
    - *Inverse*: z = y.
    - *Constraint*: none.
    """

    @override
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z, z.new_zeros(z.shape[:-1])

    @override
    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return y, y.new_zeros(y.shape[:-1])

    @override
    def pull_back(self, z: Tensor, y: Tensor, vector: Tensor) -> Tensor:
        return vector


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
