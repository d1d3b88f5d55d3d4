"""Gated fully connected layers as an encoder."""

import math
from collections.abc import Sequence

from nfvae.models.encoders.base import TrunkEncoder
from nfvae.networks import gated_mlp


class GatedEncoder(TrunkEncoder):
    """Fully connected layers with a gate for each unit.

    Args:
        shape: shape of a datum.
        latent: latent size D.
        context: context size C.
        hidden: widths of the layers.
        dropout: share of each layer's inputs that is dropped in training, against overfitting (Amortized Inference
            Regularization, arXiv 1805.08913).

    Raises:
        ValueError: for a width below 1, or a share outside [0, 0.9].

    References:
        VAE with a VampPrior, arXiv 1705.07120.
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        context: int,
        hidden: Sequence[int] = (300, 300),
        dropout: float = 0.0,
    ) -> None:
        super().__init__(gated_mlp(math.prod(shape), hidden, dropout), hidden[-1], latent, context)
