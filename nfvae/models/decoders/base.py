"""Base classes of decoders."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from typing_extensions import override

from nfvae.networks import Linear


class Decoder(nn.Module, ABC):
    """Decode latents into the numbers from which a likelihood makes p(x|z).

    The constructor takes `latent`, D; `shape`, the shape of a datum; `outputs`, the numbers per element of x; then its
    options.
    """

    @abstractmethod
    @override
    def forward(self, z: Tensor) -> Tensor:
        """Return numbers with shape (*, outputs, P) for z with shape (*, D)."""

    @property
    def output_bias(self) -> Tensor | None:
        """The output bias with shape (outputs · P,); None for a decoder without one."""
        return None

    @torch.no_grad()
    def init_output_bias(self, bias: Tensor) -> None:
        """Initialize the output bias with shape (outputs, P), unless it is already trained."""
        if self.output_bias is not None and bias.numel() != self.output_bias.numel():
            expected = self.output_bias.numel()
            raise ValueError(f"expected an output bias of {expected} numbers; got shape {tuple(bias.shape)}")
        if self.output_bias is not None and not self.output_bias.any():
            self.output_bias.copy_(bias.flatten())


def check_outputs(decoder: Decoder, outputs: int) -> None:
    """Refuse a decoder of numbers if the likelihood takes none.

    Raises:
        ValueError: for fewer than 1 output.
    """
    if outputs < 1:
        raise ValueError(
            f"{type(decoder).__name__} gives numbers, and the likelihood own takes a decoder that gives p(x|z) itself: "
            "choose another likelihood, or a decoder of your own"
        )


class TrunkDecoder(Decoder):
    """A trunk of layers, then one linear head that gives all numbers.

    Args:
        trunk: maps latents with shape (*, D) to (*, width).
        width: output width of the trunk.
        shape: shape of a datum.
        outputs: numbers per element of x.
    """

    def __init__(self, trunk: nn.Module, width: int, shape: Sequence[int], outputs: int = 1) -> None:
        super().__init__()
        check_outputs(self, outputs)
        self.trunk, self.outputs = trunk, outputs
        self.head = Linear(width, outputs * math.prod(shape))
        with torch.no_grad():  # noise of the latents must not drown the pixel means that training starts from
            self.head.weight.mul_(0.1)
            self.head.bias.zero_()

    @override
    def forward(self, z: Tensor) -> Tensor:
        raw: Tensor = self.head(self.trunk(z))
        return raw.view(*raw.shape[:-1], self.outputs, raw.shape[-1] // self.outputs)

    @property
    @override
    def output_bias(self) -> Tensor:
        return self.head.bias


class ImageDecoder(Decoder):
    """Layers that give images of numbers, plus a bias for each number.

    Args:
        trunk: maps latents with shape (N, D) to (N, channels, height, width).
        last: maps the trunk's output to (N, outputs · channels, height, width).
        shape: shape of an image.
        outputs: numbers per element of x.
    """

    def __init__(self, trunk: nn.Module, last: nn.Conv2d, shape: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.trunk, self.last, self.outputs = trunk, last, outputs
        self.bias = nn.Parameter(torch.zeros(self.outputs * math.prod(shape)))
        with torch.no_grad():  # noise of the latents must not drown the pixel means that training starts from
            self.last.weight.mul_(0.1)

    @override
    def forward(self, z: Tensor) -> Tensor:
        raw: Tensor = self.last(self.trunk(z.reshape(-1, z.shape[-1]))).flatten(1) + self.bias
        return raw.view(*z.shape[:-1], self.outputs, raw.shape[-1] // self.outputs)

    @property
    @override
    def output_bias(self) -> Tensor:
        return self.bias
