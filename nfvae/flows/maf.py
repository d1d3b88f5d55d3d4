"""The masked autoregressive flow (Papamakarios et al., 2017), an inverse autoregressive flow turned round."""

from torch import Tensor

from nfvae.bijections import Bijection, Inverse
from nfvae.flows.iaf import IAFFlow


class MAFFlow(IAFFlow):
    """The inverse of `IAFFlow`: the density of a given point takes one pass a layer, a draw takes D.

    Arguments and errors are those of `IAFFlow`.
    """

    def forward(self, h: Tensor | None = None) -> Bijection:  # noqa: D102
        return Inverse(super().forward(h))
