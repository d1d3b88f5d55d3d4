"""Multilayer perceptrons conditioned on a context: plain, or masked for an autoregressive order."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from typing_extensions import override

from nfvae.networks.linear import linear
from nfvae.networks.mlp import check_widths, make_activation

_LAST_WEIGHT = 0.01  # initial standard deviation of the last layer's weights


class ConditionedMLP(nn.Module):
    """A network whose first hidden bias is an argument of each call, computed from a context or free.

    So the context costs one product for any number of calls. The output starts near zero.

    Args:
        inputs: width of the input; may be 0.
        outputs: width of the output.
        hidden: widths of the hidden layers.
        activation: a name in `ACTIVATIONS`.

    Raises:
        ValueError: for a width below 1 or an unknown activation.
    """

    def __init__(self, inputs: int, outputs: int, hidden: Sequence[int], activation: str = "relu") -> None:
        super().__init__()
        check_widths(hidden)
        self.activation = make_activation(activation)
        sizes = [(before, after) for before, after in pairwise([inputs, *hidden])]
        self.hidden_weights = nn.ParameterList(_uniform(after, before) for before, after in sizes)
        self.hidden_biases = nn.ParameterList(torch.zeros(width) for width in hidden[1:])
        self.last_weight = nn.Parameter(_LAST_WEIGHT * torch.randn(outputs, hidden[-1]))
        self.last_bias = nn.Parameter(torch.zeros(outputs))

    def weights(self) -> list[Tensor]:
        """Return the weight of every layer; one computation serves any number of calls."""
        return [*self.hidden_weights, self.last_weight]

    def biases(self) -> list[Tensor]:
        """Return the bias of every layer except the first."""
        return [*self.hidden_biases, self.last_bias]

    @override
    def forward(
        self,
        x: Tensor,
        bias: Tensor,
        weights: Sequence[Tensor] | None = None,
        biases: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Evaluate the network.

        Args:
            x: inputs with shape (*, inputs).
            bias: bias of the first hidden layer with shape (*, width), broadcast against x's batch.
            weights: result of `weights`, to avoid computing it again.
            biases: result of `biases`.

        Returns:
            Tensor with shape (*, outputs).
        """
        weights = self.weights() if weights is None else weights
        *hidden, last = [bias, *(self.biases() if biases is None else biases)]
        for weight, own in zip(weights[:-1], hidden, strict=True):
            x = self.activation(linear(x, weight, own))
        return linear(x, weights[-1], last)


class MaskedMLP(ConditionedMLP):
    """A masked autoencoder (MADE): the output for a coordinate depends only on the coordinates before it.

    The units of a hidden layer are sorted by degree: a unit of degree r sees the first r coordinates in order.

    Args:
        features: D, the number of coordinates.
        outputs: numbers per coordinate; the output has shape (*, outputs · D), coordinates last.
        hidden: widths of the hidden layers.
        activation: a name in `ACTIVATIONS`.
        reverse: whether the order of the coordinates is D-1 ... 0.

    Raises:
        ValueError: for a width below 1 or an unknown activation.

    References:
        MADE: Masked Autoencoder for Distribution Estimation, arXiv 1502.03509.
    """

    def __init__(
        self, features: int, outputs: int, hidden: Sequence[int], activation: str = "relu", reverse: bool = False
    ) -> None:
        super().__init__(features, outputs * features, hidden, activation)
        self.order = range(features)[:: -1 if reverse else 1]
        self.degrees = [_hidden_degrees(features, width) for width in hidden]
        place = torch.tensor(self.order)  # a reversed order is its own inverse
        degrees = [place + 1, *map(torch.tensor, self.degrees)]
        for index, (before, after) in enumerate(pairwise(degrees)):
            self._register_mask(index, after[:, None] >= before)
        self._register_mask(len(hidden), (place[:, None] >= degrees[-1]).repeat(outputs, 1))

    def _register_mask(self, index: int, mask: Tensor) -> None:
        self.register_buffer(f"mask{index}", mask.to(self.last_weight.dtype), persistent=False)

    def counts(self) -> list[list[int]]:
        """Count, for each hidden layer, the units that see at most the first 0, 1 ... D coordinates."""
        return [[bisect_right(degrees, known) for known in range(len(self.order) + 1)] for degrees in self.degrees]

    @override
    def weights(self) -> list[Tensor]:
        """Return the masked weight of every layer; one computation serves any number of calls."""
        return [weight * self.get_buffer(f"mask{index}") for index, weight in enumerate(super().weights())]


def _uniform(outputs: int, inputs: int) -> nn.Parameter:
    """Draw weights that keep the size of signals, as PyTorch's own layers do."""
    reach = max(inputs, 1) ** -0.5
    return nn.Parameter(torch.empty(outputs, inputs).uniform_(-reach, reach))


def _hidden_degrees(features: int, width: int) -> list[int]:
    """Spread 1 ... D-1 evenly over the units, in order; for D = 1 all are 0: no unit may see the input."""
    return [min(1, features - 1) + round(unit * max(features - 2, 0) / max(width - 1, 1)) for unit in range(width)]
