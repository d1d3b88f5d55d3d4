"""The multilayer perceptron as an encoder."""

import math
from collections.abc import Sequence

from nfvae.models.encoders.base import TrunkEncoder
from nfvae.networks import mlp


class MLPEncoder(TrunkEncoder):
    """Fully connected layers.

    Args:
        shape: shape of a datum.
        latent: latent size D.
        context: context size C.
        hidden: widths of the layers.
        activation: a name in `nfvae.networks.ACTIVATIONS`.
        dropout: share of each layer's inputs that is dropped in training, against overfitting (Amortized Inference
            Regularization, arXiv 1805.08913).

    Raises:
        ValueError: for an unknown activation, a width below 1, or a share outside [0, 0.9].
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent: int,
        context: int,
        hidden: Sequence[int] = (300, 300),
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(mlp(math.prod(shape), hidden, activation, dropout), hidden[-1], latent, context)
