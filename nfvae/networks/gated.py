"""Gated layers: one half of a layer's output gates the other half."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from nfvae.networks.linear import Linear
from nfvae.networks.mlp import check_widths, dropouts


class Gated(nn.Module):
    """A layer whose output is gated: h = (W x + b) · sigmoid(V x + c), both halves computed at once.

    Args:
        layer: layer with twice the wanted channels, in the last dimension for `nn.Linear`, else in dimension 1.

    References:
        Language Modeling with Gated Convolutional Networks, arXiv 1612.08083.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    @override
    def forward(self, x: Tensor) -> Tensor:
        return functional.glu(self.layer(x), -1 if isinstance(self.layer, nn.Linear) else 1)


def gated_mlp(inputs: int, hidden: Sequence[int], dropout: float = 0.0) -> nn.Sequential:
    """Stack gated linear layers: (*, inputs) -> (*, hidden[-1]).

    Args:
        inputs: width of the input.
        hidden: widths of the layers, at least one.
        dropout: share of each layer's inputs that is dropped in training.

    Raises:
        ValueError: for no layer, a width below 1, or a share outside [0, 0.9].

    References:
        VAE with a VampPrior, arXiv 1705.07120.
    """
    check_widths(hidden)
    layers: list[nn.Module] = []
    for width, next_width in pairwise([inputs, *hidden]):
        layers += [*dropouts(dropout), Gated(he(Linear(width, 2 * next_width)))]
    return nn.Sequential(*layers)


Layer = TypeVar("Layer", nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def he(layer: Layer) -> Layer:
    """Draw a layer's weights so that signals keep their size (He et al. 2015, arXiv 1502.01852); return the layer."""
    nn.init.kaiming_normal_(layer.weight, mode="fan_out" if isinstance(layer, nn.ConvTranspose2d) else "fan_in")
    return layer
