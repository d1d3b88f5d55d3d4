"""What a decoder is."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nfvae.models.likelihood import BernoulliPixels
from nfvae.networks import Linear


class Decoder(nn.Module, ABC):
    """A module that decodes latents into p(x|z).

    The constructor takes `latent`, D; `shape`, the shape of an image; then its options.
    """

    @abstractmethod
    def forward(self, z: Tensor) -> BernoulliPixels:
        """Return p(x|z) with batch shape (*) and event shape (P,) for z with shape (*, D)."""

    @property
    def output_bias(self) -> Tensor | None:
        """The bias of the logits with shape (P,), where there is such a parameter."""
        return None

    @torch.no_grad()
    def init_output_bias(self, pixel_means: Tensor) -> None:
        """Start the output bias at the logit of the training pixel means; a bias already trained is left alone.

        Args:
            pixel_means: mean of each training pixel, in [0, 1], with shape (P,).
        """
        if self.output_bias is not None and not self.output_bias.any():
            self.output_bias.copy_(torch.logit(pixel_means, eps=1e-3))


class TrunkDecoder(Decoder):
    """Layers without their last one, then one linear head that gives the logits of the pixels.

    Args:
        trunk: maps latents with shape (*, D) to (*, width).
        width: of what the trunk gives.
        shape: of an image.
    """

    def __init__(self, trunk: nn.Module, width: int, shape: Sequence[int]) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = Linear(width, math.prod(shape))
        with torch.no_grad():  # noise of the latents must not drown the pixel means that training starts from
            self.head.weight.mul_(0.1)
            self.head.bias.zero_()

    def forward(self, z: Tensor) -> BernoulliPixels:  # noqa: D102
        return BernoulliPixels(self.head(self.trunk(z)))

    @property
    def output_bias(self) -> Tensor:
        """The bias of the logits with shape (P,)."""
        return self.head.bias


class ImageDecoder(Decoder):
    """Layers that give an image of logits, to which a bias for each pixel is added.

    Args:
        trunk: maps latents with shape (N, D) to (N, channels, height, width).
        last: maps that to (N, 1, height, width).
        shape: of an image.
    """

    def __init__(self, trunk: nn.Module, last: nn.Conv2d, shape: Sequence[int]) -> None:
        super().__init__()
        self.trunk, self.last, self.bias = trunk, last, nn.Parameter(torch.zeros(math.prod(shape)))
        with torch.no_grad():  # noise of the latents must not drown the pixel means that training starts from
            self.last.weight.mul_(0.1)

    def forward(self, z: Tensor) -> BernoulliPixels:  # noqa: D102
        logits = self.last(self.trunk(z.reshape(-1, z.shape[-1]))).flatten(1) + self.bias
        return BernoulliPixels(logits.view(*z.shape[:-1], logits.shape[-1]))

    @property
    def output_bias(self) -> Tensor:
        """The bias of the logits with shape (P,)."""
        return self.bias
