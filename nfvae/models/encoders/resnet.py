"""Residual convolutions as an encoder."""

import math
from collections.abc import Sequence

from torch import nn

from nfvae.models.encoders.base import TrunkEncoder
from nfvae.networks import Linear, ResidualBlock, channels_and_sides, halved, he
from nfvae.registry import check_sizes


class ResNetEncoder(TrunkEncoder):
    """Three pairs of residual blocks at full size, half and a quarter of it, then one linear layer.

    Args:
        shape: height and width of an image, or channels, height and width.
        latent: latent size D.
        context: context size C.
        channels: channels of the blocks at full size; smaller sizes have twice as many.
        hidden: width of the fully connected layer.

    Raises:
        ValueError: for data that are no images, or sizes below 1.

    References:
        Improved Variational Inference with Inverse Autoregressive Flow, arXiv 1606.04934.
    """

    takes_images = True

    def __init__(self, shape: Sequence[int], latent: int, context: int, channels: int = 16, hidden: int = 450) -> None:
        check_sizes(channels=channels, hidden=hidden)
        colors, sides = channels_and_sides(shape)
        c, left = channels, math.prod(halved(halved(sides)))
        sizes = [(c, c, 1), (c, c, 1), (c, 2 * c, 2), (2 * c, 2 * c, 1), (2 * c, 2 * c, 2), (2 * c, 2 * c, 1)]
        trunk = nn.Sequential(
            nn.Unflatten(-1, (colors, *sides)),
            he(nn.Conv2d(colors, c, 3, 1, 1)),
            *(ResidualBlock(*size) for size in sizes),
            nn.ELU(),
            nn.Flatten(),
            he(Linear(2 * c * left, hidden)),
            nn.ELU(),
        )
        super().__init__(trunk, hidden, latent, context)
