"""Residual convolutions as a decoder."""

from collections.abc import Sequence

from torch import nn

from nfvae.models.decoders.base import ImageDecoder, check_outputs
from nfvae.networks import Linear, ResidualBlock, channels_and_sides, halved, he
from nfvae.registry import check_sizes


class ResNetDecoder(ImageDecoder):
    """Two linear layers, then three pairs of residual blocks from a quarter of the image size to full size.

    Args:
        latent: latent size D.
        shape: height and width of an image, or channels, height and width.
        outputs: numbers per element of x.
        channels: channels of the blocks at full size; smaller sizes have twice as many.
        hidden: width of the first layer.

    Raises:
        ValueError: for data that are no images, or sizes below 1.

    References:
        Improved Variational Inference with Inverse Autoregressive Flow, arXiv 1606.04934.
    """

    def __init__(
        self, latent: int, shape: Sequence[int], outputs: int = 1, channels: int = 16, hidden: int = 450
    ) -> None:
        check_outputs(self, outputs)
        check_sizes(channels=channels, hidden=hidden)
        (colors, sides), c = channels_and_sides(shape), channels
        half, quarter = halved(sides), halved(halved(sides))
        trunk = nn.Sequential(
            he(Linear(latent, hidden)),
            nn.ELU(),
            he(Linear(hidden, 2 * c * quarter[0] * quarter[1])),
            nn.Unflatten(-1, (2 * c, *quarter)),
            ResidualBlock(2 * c, 2 * c),
            ResidualBlock(2 * c, 2 * c, size=half),
            ResidualBlock(2 * c, 2 * c),
            ResidualBlock(2 * c, c, size=sides),
            ResidualBlock(c, c),
            ResidualBlock(c, c),
            nn.ELU(),
        )
        super().__init__(trunk, nn.Conv2d(c, outputs * colors, 3, 1, 1), shape, outputs)
