"""The multilayer perceptron as a decoder."""

from collections.abc import Sequence

from nfvae.models.decoders.base import TrunkDecoder
from nfvae.networks import mlp


class MLPDecoder(TrunkDecoder):
    """Fully connected layers.

    Args:
        latent: latent size D.
        shape: shape of a datum.
        outputs: numbers per element of x.
        hidden: widths of the layers.
        activation: a name in `nfvae.networks.ACTIVATIONS`.

    Raises:
        ValueError: for an unknown activation, or a width below 1.
    """

    def __init__(
        self,
        latent: int,
        shape: Sequence[int],
        outputs: int = 1,
        hidden: Sequence[int] = (300, 300),
        activation: str = "relu",
    ) -> None:
        super().__init__(mlp(latent, hidden, activation), hidden[-1], shape, outputs)
