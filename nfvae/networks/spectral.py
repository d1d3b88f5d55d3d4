"""Networks with a bounded slope: spectral normalization and LipSwish."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, softplus
from typing_extensions import override

from nfvae.networks.jacobians import MLPFunction

_TRAINING_STEPS, _STEPS = 5, 40  # of the power iteration
_SWISH_SLOPE = 1.1  # the steepest slope of a swish is below it
_FIRST_SHARPNESS = 0.5
_LAST_SCALE = 0.1  # of the last layer's first weights, so that the network starts small


class SpectralLinear(nn.Module):
    """A weight whose spectral norm is bounded, by power iteration.

    The iteration goes on from the vectors of the last training step, which are buffers. In evaluation mode it goes on
    for longer and stores nothing.

    Args:
        inputs: input width.
        outputs: output width.
        bound: largest spectral norm.
    """

    left: Tensor
    right: Tensor

    def __init__(self, inputs: int, outputs: int, bound: float) -> None:
        super().__init__()
        self.bound = bound
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        self.register_buffer("left", normalize(torch.randn(outputs), dim=0))
        self.register_buffer("right", normalize(torch.randn(inputs), dim=0))

    @override
    def forward(self) -> Tensor:
        """Return the weight, scaled down where its norm exceeds the bound."""
        left, right = self._singular_vectors()
        norm = left @ self.weight @ right
        return self.weight * (self.bound / norm.clamp_min(self.bound))

    @torch.no_grad()
    def _singular_vectors(self) -> tuple[Tensor, Tensor]:
        left, right = self.left, self.right
        for _ in range(_TRAINING_STEPS if self.training else _STEPS):
            left = _along(self.weight @ right, left)
            right = _along(self.weight.T @ left, right)
        if self.training:
            self.left.copy_(left)
            self.right.copy_(right)
        return left.clone(), right.clone()


def _along(vector: Tensor, otherwise: Tensor) -> Tensor:
    """Return the unit vector along a vector, or another one if it is zero."""
    length = vector.norm()
    return torch.where(length > 0, vector / length.clamp_min(torch.finfo(vector.dtype).tiny), otherwise)


class ContractiveMLP(nn.Module):
    """A network whose slope is below `coefficient` to the power of its layers, with an activation that is below 1.

    Args:
        features: D, numbers in and out.
        hidden: widths of the hidden layers.
        coefficient: bound of the spectral norm of each weight.
    """

    def __init__(self, features: int, hidden: Sequence[int], coefficient: float) -> None:
        super().__init__()
        sizes = [features, *hidden, features]
        linears = [SpectralLinear(inputs, outputs, coefficient) for inputs, outputs in pairwise(sizes)]
        self.biases = nn.ParameterList([torch.zeros(size) for size in sizes[2:]])
        self.sharpness = nn.Parameter(torch.full((len(hidden),), _inverse_softplus(_FIRST_SHARPNESS)))
        with torch.no_grad():
            linears[-1].weight.mul_(_LAST_SCALE)
        self.linears = nn.ModuleList(linears)

    @override
    def forward(self, bias: Tensor) -> "Contraction":
        """Return the function of coordinates, given the bias of the first hidden layer with shape (*, width)."""
        weights = [linear() for linear in self.linears]
        return Contraction(weights, [bias, *self.biases], [*softplus(self.sharpness)])


class Contraction(MLPFunction):
    """A contractive network with a given context; its activation is LipSwish, x sigmoid(β x)/1.1.

    Args:
        weights: normalized weights.
        biases: their biases.
        sharpness: β of each hidden layer.
    """

    def __init__(self, weights: Sequence[Tensor], biases: Sequence[Tensor], sharpness: Sequence[Tensor]) -> None:
        super().__init__(weights, biases)
        self.sharpness = list(sharpness)

    @override
    def activation(self, layer: int, x: Tensor) -> tuple[Tensor, Tensor]:
        scaled = self.sharpness[layer] * x
        gate = torch.sigmoid(scaled)
        return x * gate / _SWISH_SLOPE, gate * (1 + scaled * (1 - gate)) / _SWISH_SLOPE


def _inverse_softplus(value: float) -> float:
    return math.log(math.expm1(value))
