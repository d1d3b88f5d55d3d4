"""Base classes of encoders."""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from torch import Tensor, nn
from typing_extensions import override

from nfvae.networks import Linear
from nfvae.numerics import softly_between

_FIRST_LOG_SCALE = -1.0  # narrower than the prior: latents carry a signal from the first step on
_LOG_SCALES = -7.0, 3.0  # bounds of log_scale


class Encoding(NamedTuple):
    """An encoder's output for B images.

    Attributes:
        loc: mean of z_0 with shape (B, D).
        log_scale: logarithm of the standard deviation of z_0 with shape (B, D).
        h: context of the flow with shape (B, C).
    """

    loc: Tensor
    log_scale: Tensor
    h: Tensor


class Encoder(nn.Module, ABC):
    """A module that encodes data with shape (B, P).

    The constructor takes `shape`, the shape of a datum; `latent`, D; `context`, C, which may be 0; then its options.

    Attributes:
        takes_images: whether the shape must be that of images, as for convolutions.
    """

    takes_images: ClassVar[bool] = False

    @abstractmethod
    @override
    def forward(self, x: Tensor) -> Encoding:
        """Encode x with shape (B, P), P the product of the shape."""


class TrunkEncoder(Encoder):
    """A trunk of layers, then one linear head that gives loc, log_scale and the context h.

    Args:
        trunk: maps images with shape (B, P) to (B, width).
        width: output width of the trunk.
        latent: latent size D.
        context: context size C.
    """

    def __init__(self, trunk: nn.Module, width: int, latent: int, context: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.sizes = (latent, latent, context)
        self.head = Linear(width, sum(self.sizes))
        nn.init.constant_(self.head.bias[latent : 2 * latent].data, _FIRST_LOG_SCALE)

    @override
    def forward(self, x: Tensor) -> Encoding:
        loc, log_scale, h = self.head(self.trunk(x)).split(self.sizes, -1)
        return Encoding(loc, softly_between(log_scale, *_LOG_SCALES), h)
