"""The multilayer perceptron as a decoder."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nfvae.models.decoders.base import Decoder
from nfvae.models.likelihood import BernoulliPixels
from nfvae.networks import mlp


class MLPDecoder(Decoder):
    """An MLP that ends in the logits of the pixels.

    Args:
        latent: D.
        shape: of an image.
        hidden: widths of the MLP.
        activation: a name in `nfvae.networks.ACTIVATIONS`.

    Raises:
        ValueError: for an unknown activation, or a width below 1.
    """

    def __init__(
        self, latent: int, shape: Sequence[int], hidden: Sequence[int] = (300, 300), activation: str = "relu"
    ) -> None:
        super().__init__()
        self.trunk = mlp(latent, hidden, activation)
        self.head = nn.Linear(hidden[-1], math.prod(shape))
        with torch.no_grad():  # noise of the latents must not drown the pixel means that training starts from
            self.head.weight.mul_(0.1)
            self.head.bias.zero_()

    def forward(self, z: Tensor) -> BernoulliPixels:  # noqa: D102
        return BernoulliPixels(self.head(self.trunk(z)))

    @property
    def output_bias(self) -> Tensor:
        """The bias of the logits with shape (P,)."""
        return self.head.bias
