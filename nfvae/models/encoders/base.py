"""What an encoder is."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn


class Encoding(NamedTuple):
    """What an encoder says of B images.

    Attributes:
        loc: mean of z_0 with shape (B, D).
        log_scale: logarithm of the standard deviation of z_0 with shape (B, D).
        h: context of the flow with shape (B, C).
    """

    loc: Tensor
    log_scale: Tensor
    h: Tensor


class Encoder(nn.Module, ABC):
    """A module that encodes images with shape (B, P).

    The constructor takes `shape`, the shape of an image; `latent`, D; `context`, C, which may be 0; then its options.
    """

    @abstractmethod
    def forward(self, x: Tensor) -> Encoding:
        """Encode x with shape (B, P), P the product of the image's shape."""
