"""Gated convolutions as an encoder."""

from collections.abc import Sequence

from torch import nn

from nfvae.models.encoders.base import TrunkEncoder
from nfvae.networks import Gated, channels_and_sides, halved, he
from nfvae.registry import check_sizes


class ConvEncoder(TrunkEncoder):
    """Five gated 5x5 convolutions, two of which halve the image, then one over all that remains.

    Args:
        shape: height and width of an image, or channels, height and width.
        latent: latent size D.
        context: context size C.
        channels: channels of the first convolutions; the last have twice as many.
        hidden: width of the last layer.

    Raises:
        ValueError: for data that are no images, or sizes below 1.

    References:
        Sylvester Normalizing Flows for Variational Inference, arXiv 1803.05649.
    """

    takes_images = True

    def __init__(self, shape: Sequence[int], latent: int, context: int, channels: int = 32, hidden: int = 256) -> None:
        check_sizes(channels=channels, hidden=hidden)
        (colors, sides), c = channels_and_sides(shape), channels
        sizes = [(colors, c, 1), (c, c, 2), (c, 2 * c, 1), (2 * c, 2 * c, 2), (2 * c, 2 * c, 1)]  # in, out, stride
        layers = [Gated(he(nn.Conv2d(before, 2 * after, 5, stride, 2))) for before, after, stride in sizes]
        whole = Gated(he(nn.Conv2d(2 * c, 2 * hidden, halved(halved(sides)))))
        super().__init__(
            nn.Sequential(nn.Unflatten(-1, (colors, *sides)), *layers, whole, nn.Flatten()), hidden, latent, context
        )
