"""Functions of an MLP with products with their Jacobian in closed form."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override


class MLPFunction(ABC):
    """A function g of z by an MLP with given weights; J is its Jacobian.

    Args:
        weights: weights of the layers, each with shape (outputs, inputs).
        biases: their biases, each with shape (*, outputs).
    """

    def __init__(self, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> None:
        self.weights, self.biases = list(weights), list(biases)

    @abstractmethod
    def activation(self, layer: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the activation of a hidden layer and its slope, both of the shape of x."""

    def __call__(self, z: Tensor) -> Tensor:
        """Return g(z) for z with shape (*, D)."""
        return self.with_slopes(z)[0]

    def with_slopes(self, z: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return g(z), and the slopes of the hidden layers' activations with shape (*, width)."""
        slopes = []
        for layer, (weight, bias) in enumerate(zip(self.weights[:-1], self.biases, strict=False)):
            z, slope = self.activation(layer, z @ weight.T + bias)
            slopes.append(slope)
        return z @ self.weights[-1].T + self.biases[-1], slopes

    def jacobian(self, slopes: Sequence[Tensor]) -> Tensor:
        """Return J with shape (*, D, D)."""
        matrix = slopes[0].unsqueeze(-1) * self.weights[0]
        for weight, slope in zip(self.weights[1:], slopes[1:], strict=False):
            matrix = slope.unsqueeze(-1) * (weight @ matrix)
        return self.weights[-1] @ matrix

    def push(self, slopes: Sequence[Tensor], vector: Tensor) -> Tensor:
        """Return J v for v with shape (*, D)."""
        for weight, slope in zip(self.weights, slopes, strict=False):
            vector = slope * (vector @ weight.T)
        return vector @ self.weights[-1].T

    def pull(self, slopes: Sequence[Tensor], vector: Tensor) -> Tensor:
        """Return Jᵀ v for v with shape (*, D)."""
        vector = vector @ self.weights[-1]
        for weight, slope in zip(reversed(self.weights[:-1]), reversed(slopes), strict=True):
            vector = (slope * vector) @ weight
        return vector


class TanhFunction(MLPFunction):
    """An MLP with tanh units, which is smooth."""

    @override
    def activation(self, layer: int, x: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.tanh(x)
        return y, 1 - y.square()
