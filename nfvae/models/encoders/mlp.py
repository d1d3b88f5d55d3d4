"""The multilayer perceptron as an encoder."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from nfvae.models.encoders.base import Encoder, Encoding
from nfvae.networks import mlp

_FIRST_LOG_SCALE = -1.0  # narrower than the prior: latents carry a signal from the first step on


class MLPEncoder(Encoder):
    """An MLP trunk, then one linear head that gives loc, log_scale and the context h.

    Args:
        shape: of an image.
        latent: D.
        context: C.
        hidden: widths of the trunk.
        activation: a name in `nfvae.networks.ACTIVATIONS`.

    Raises:
        ValueError: for an unknown activation, or a width below 1.
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        context: int,
        hidden: Sequence[int] = (300, 300),
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.trunk = mlp(math.prod(shape), hidden, activation)
        self.sizes = (latent, latent, context)
        self.head = nn.Linear(hidden[-1], sum(self.sizes))
        nn.init.constant_(self.head.bias[latent : 2 * latent].data, _FIRST_LOG_SCALE)

    def forward(self, x: Tensor) -> Encoding:  # noqa: D102
        return Encoding(*self.head(self.trunk(x)).split(self.sizes, -1))
