"""The multilayer perceptron as an encoder."""

import math
from collections.abc import Sequence

from nfvae.models.encoders.base import TrunkEncoder
from nfvae.networks import mlp


class MLPEncoder(TrunkEncoder):
    """Fully connected layers.

    Args:
        shape: of an image.
        latent: D.
        context: C.
        hidden: widths of the layers.
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
        super().__init__(mlp(math.prod(shape), hidden, activation), hidden[-1], latent, context)
