"""Gated fully connected layers as a decoder."""

from collections.abc import Sequence

from nfvae.models.decoders.base import TrunkDecoder
from nfvae.networks import gated_mlp


class GatedDecoder(TrunkDecoder):
    """Fully connected layers with a gate for each unit.

    Args:
        latent: latent size D.
        shape: shape of a datum.
        outputs: numbers per element of x.
        hidden: widths of the layers.

    Raises:
        ValueError: for a width below 1.

    References:
        VAE with a VampPrior, arXiv 1705.07120.
    """

    def __init__(self, latent: int, shape: Sequence[int], outputs: int = 1, hidden: Sequence[int] = (300, 300)) -> None:
        super().__init__(gated_mlp(latent, hidden), hidden[-1], shape, outputs)
