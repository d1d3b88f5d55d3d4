"""Residual convolutions."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from nfvae.networks.gated import he


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions added to the identity, or to a 1x1 convolution where channels or sizes change.

    Args:
        before: channels of the input.
        after: channels of the output.
        stride: 2 halves height and width, rounded up.
        size: height and width to which the input is first enlarged, by nearest pixels; None for no change.

    References:
        Deep Residual Learning for Image Recognition, arXiv 1512.03385.
        Identity Mappings in Deep Residual Networks, arXiv 1603.05027.
    """

    def __init__(self, before: int, after: int, stride: int = 1, size: Sequence[int] | None = None) -> None:
        super().__init__()
        self.size = None if size is None else tuple(size)
        self.first = he(nn.Conv2d(before, after, 3, stride, 1))
        self.second = he(nn.Conv2d(after, after, 3, 1, 1))
        nn.init.zeros_(self.second.weight)  # a block starts as its skip connection, at any depth
        changes = before != after or stride != 1
        self.skip = nn.Conv2d(before, after, 1, stride) if changes else nn.Identity()

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Map images with shape (N, before, height, width) to (N, after, ...)."""
        if self.size is not None:
            x = functional.interpolate(x, self.size)
        moved = self.second(functional.elu(self.first(functional.elu(x))))
        result: Tensor = self.skip(x) + moved
        return result
