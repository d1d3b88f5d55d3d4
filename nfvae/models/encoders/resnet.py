"""Residual convolutions as an encoder."""

import math
from collections.abc import Sequence

from torch import nn

from nfvae.models.encoders.base import TrunkEncoder
from nfvae.networks import Linear, ResidualBlock, halved, he, height_and_width
from nfvae.registry import check_sizes


class ResNetEncoder(TrunkEncoder):
    """Three pairs of residual blocks at full size, half and a quarter of it, then one linear layer.

    Args:
        shape: height and width of an image.
        latent: latent size D.
        context: context size C.
        channels: channels of the blocks at full size; smaller sizes have twice as many.
        hidden: width of the fully connected layer.

    Raises:
        ValueError: for images that are not of height and width, or sizes below 1.

    References:
        Improved Variational Inference with Inverse Autoregressive Flow, arXiv 1606.04934.
    """

    def __init__(self, shape: Sequence[int], latent: int, context: int, channels: int = 16, hidden: int = 450) -> None:
        check_sizes(channels=channels, hidden=hidden)
        sides = height_and_width(shape)
        c, left = channels, math.prod(halved(halved(sides)))
        sizes = [(c, c, 1), (c, c, 1), (c, 2 * c, 2), (2 * c, 2 * c, 1), (2 * c, 2 * c, 2), (2 * c, 2 * c, 1)]
        trunk = nn.Sequential(
            nn.Unflatten(-1, (1, *sides)),
            he(nn.Conv2d(1, c, 3, 1, 1)),
            *(ResidualBlock(*size) for size in sizes),
            nn.ELU(),
            nn.Flatten(),
            he(Linear(2 * c * left, hidden)),
            nn.ELU(),
        )
        super().__init__(trunk, hidden, latent, context)
