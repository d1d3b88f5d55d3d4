"""The masked multilayer perceptron whose outputs for one coordinate see only the coordinates before it."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from nfvae.networks.mlp import check_widths, make_activation


class MaskedMLP(nn.Module):
    """A masked autoencoder for distribution estimation, its hidden biases given from outside.

    Output i depends on the inputs that come before coordinate i in the order, 0 ... D-1 or its reverse. The
    biases of the hidden layers are no parameters here: whoever calls supplies them, made from a context or free,
    so that the context enters every hidden layer.

    Args:
        features: D, the number of coordinates.
        outputs: numbers given out for each coordinate.
        hidden: widths of the hidden layers.
        activation: a name in `ACTIVATIONS`.
        reverse: whether the order is D-1 ... 0.

    Raises:
        ValueError: for a width below 1 or an unknown activation.

    References:
        MADE: Masked Autoencoder for Distribution Estimation, arXiv 1502.03509.
    """

    def __init__(
        self, features: int, outputs: int, hidden: Sequence[int], activation: str = "relu", reverse: bool = False
    ) -> None:
        super().__init__()
        check_widths(hidden)
        self.outputs = outputs
        self.order = tuple(range(features))[:: -1 if reverse else 1]
        degrees = [self._feature_degrees(), *(_hidden_degrees(features, width) for width in hidden)]
        self.layers = nn.ModuleList(
            nn.Linear(len(before), len(after), bias=False) for before, after in pairwise(degrees)
        )
        self.last = nn.Linear(len(degrees[-1]), outputs * features)
        self.activation = make_activation(activation)
        for index, (before, after) in enumerate(pairwise(degrees)):
            self._register_mask(index, after[:, None] >= before)
        self._register_mask(len(hidden), (degrees[0][:, None] > degrees[-1]).repeat(outputs, 1))

    def _feature_degrees(self) -> Tensor:
        return torch.tensor(self.order).argsort() + 1

    def _register_mask(self, index: int, mask: Tensor) -> None:
        self.register_buffer(f"mask{index}", mask.to(self.last.weight.dtype), persistent=False)

    def masked_weights(self) -> list[Tensor]:
        """Return the masked weight of every layer; computed once, it serves any number of calls."""
        return [layer.weight * self.get_buffer(f"mask{index}") for index, layer in enumerate([*self.layers, self.last])]

    def forward(self, z: Tensor, biases: Sequence[Tensor], weights: Sequence[Tensor] | None = None) -> Tensor:
        """Evaluate the network.

        Args:
            z: coordinates with shape (*, D).
            biases: one tensor for each hidden layer, with shape (*, width), broadcast against z's batch.
            weights: what `masked_weights` returned, to save computing it again.

        Returns:
            Tensor with shape (*, outputs, D).
        """
        weights = self.masked_weights() if weights is None else weights
        for weight, bias in zip(weights[:-1], biases, strict=True):
            z = self.activation(_linear(z, weight, bias))
        out = functional.linear(z, weights[-1], self.last.bias)
        return out.view(*out.shape[:-1], self.outputs, -1)


def _linear(z: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if bias.ndim <= z.ndim and bias.numel() == bias.shape[-1]:  # one bias for all: the product adds it in passing
        return functional.linear(z, weight, bias.flatten())
    return functional.linear(z, weight) + bias


def _hidden_degrees(features: int, width: int) -> Tensor:
    """Spread 1 ... D-1 evenly over the units; with D = 1 no unit may see the input, which degree 0 says."""
    return torch.arange(width) % max(features - 1, 1) + min(features - 1, 1)
