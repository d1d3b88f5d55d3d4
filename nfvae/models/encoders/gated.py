"""Gated fully connected layers as an encoder."""

import math
from collections.abc import Sequence

from nfvae.models.encoders.base import TrunkEncoder
from nfvae.networks import gated_mlp


class GatedEncoder(TrunkEncoder):
    """Fully connected layers with a gate for each unit.

    Args:
        shape: of an image.
        latent: D.
        context: C.
        hidden: widths of the layers.

    Raises:
        ValueError: for a width below 1.

    References:
        VAE with a VampPrior, arXiv 1705.07120.
    """

    def __init__(self, shape: Sequence[int], latent: int, context: int, hidden: Sequence[int] = (300, 300)) -> None:
        super().__init__(gated_mlp(math.prod(shape), hidden), hidden[-1], latent, context)
