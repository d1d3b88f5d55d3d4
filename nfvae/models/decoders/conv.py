"""Gated convolutions as a decoder."""

from collections.abc import Sequence

from torch import nn

from nfvae.models.decoders.base import ImageDecoder, check_outputs
from nfvae.networks import Gated, channels_and_sides, halved, he
from nfvae.registry import check_sizes


class ConvDecoder(ImageDecoder):
    """A gated transposed convolution to a quarter of the image size, then five 5x5 ones, two of which double it.

    Args:
        latent: latent size D.
        shape: height and width of an image, or channels, height and width.
        outputs: numbers per element of x.
        channels: channels of the last convolutions; the first have twice as many.

    Raises:
        ValueError: for data that are no images, or sizes below 1.

    References:
        Sylvester Normalizing Flows for Variational Inference, arXiv 1803.05649.
    """

    def __init__(self, latent: int, shape: Sequence[int], outputs: int = 1, channels: int = 32) -> None:
        check_outputs(self, outputs)
        check_sizes(channels=channels)
        (colors, sides), c = channels_and_sides(shape), channels
        half, quarter = halved(sides), halved(halved(sides))
        trunk = nn.Sequential(
            nn.Unflatten(-1, (latent, 1, 1)),
            Gated(he(nn.ConvTranspose2d(latent, 4 * c, quarter))),
            Gated(he(nn.Conv2d(2 * c, 4 * c, 5, 1, 2))),
            Gated(he(_doubling(2 * c, 2 * c, quarter, half))),
            Gated(he(nn.Conv2d(c, 2 * c, 5, 1, 2))),
            Gated(he(_doubling(c, 2 * c, half, sides))),
            Gated(he(nn.Conv2d(c, 2 * c, 5, 1, 2))),
        )
        super().__init__(trunk, nn.Conv2d(c, outputs * colors, 1), shape, outputs)


def _doubling(before: int, after: int, size: Sequence[int], doubled: Sequence[int]) -> nn.ConvTranspose2d:
    """Return a transposed convolution that doubles an image's sides; an odd target side gets one pixel less."""
    height, width = (two - (2 * one - 1) for one, two in zip(size, doubled, strict=True))
    return nn.ConvTranspose2d(before, after, 5, 2, 2, (height, width))
