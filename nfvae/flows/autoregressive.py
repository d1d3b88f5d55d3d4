"""Autoregressive flows: the inverse autoregressive flow and its inverse, the masked autoregressive flow."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.flows.base import Given
from nfvae.flows.bijection import Bijection, Chain, Inverse
from nfvae.flows.conditioner import ConditionedFlow, Conditioner
from nfvae.flows.sequential import sequential_inverse
from nfvae.networks import ConditionedMLP, MaskedMLP
from nfvae.numerics import solve_transposed


class InverseAutoregressive(Bijection):
    """Map every coordinate by a univariate map whose parameters are computed from the coordinates before it.

    - *Forward*: y_i = g_i(z_i), g_i computed from z_1 ... z_{i-1}; one pass.
    - *Log-determinant*: the sum of log g_i', as the Jacobian is triangular in the network's order.
    - *Inverse*: z_i = g_i⁻¹(y_i), one coordinate at a time; each unit of the network is computed once.
    - *Constraint*: that of the univariate map.

    Args:
        conditioner: z with shape (*, D) -> the maps of its D coordinates, by a `MaskedMLP`.
    """

    def __init__(self, conditioner: Conditioner) -> None:
        super().__init__((*conditioner.batch_shape, len(conditioner.biases[-1]) // conditioner.maps.count))
        self.conditioner = conditioner

    @override
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        y, log_slope = self.conditioner(z).forward_and_log_slope(z)
        return y, log_slope.sum(-1)

    @override
    def pull_back(self, z: Tensor, y: Tensor, vector: Tensor) -> Tensor:
        with torch.no_grad():
            slope = self.conditioner(z).forward_and_log_slope(z)[1].exp()
        return solve_transposed(z, y, slope, vector)

    @override
    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        z, log_slope = sequential_inverse(self.conditioner, y)
        return z, log_slope.sum(-1)


class AutoregressiveFlow(ConditionedFlow):
    """A stack of masked networks whose order is reversed from layer to layer; see `ConditionedFlow`."""

    sequential: str | None = "inverse"

    @override
    def make_network(self, layer: int, hidden: Sequence[int], activation: str) -> ConditionedMLP:
        return MaskedMLP(self.features, self.maps.count, hidden, activation, reverse=layer % 2 == 1)

    @override
    def make_layer(self, layer: int, conditioner: Conditioner) -> Bijection:
        return InverseAutoregressive(conditioner)


class IAF(AutoregressiveFlow):
    """Inverse autoregressive flow: a sample and its density take one pass.

    Args:
        features: D, the number of latent coordinates.
        context: C, the size of h; 0 makes the flow global.
        depth: number of layers.
        univariate: map of each coordinate, a name in `nfvae.flows.univariate.UNIVARIATES`: `gate`, which only narrows,
            as in the paper; `affine`, which also stretches; `spline` or another nonlinear map; or your own
            "package.module:Class".
        options: arguments of `ConditionedFlow`: `hidden`, `hidden_layers`, `activation`, `univariate_options`.

    Raises:
        ValueError: for sizes below 1, an unknown name or option, or a value that the map refuses.

    References:
        Improved Variational Inference with Inverse Autoregressive Flow, arXiv 1606.04934.
    """

    def __init__(
        self, features: int, context: int = 0, depth: int = 1, univariate: str = "gate", **options: Any
    ) -> None:
        self.univariate = univariate
        super().__init__(features, context, depth, **options)


class MAF(IAF):
    """Masked autoregressive flow, the inverse of `IAF`: the density of a point takes one pass per layer.

    Arguments and errors are those of `IAF`, but `univariate` is `affine` by default, as in the paper.

    References:
        Masked Autoregressive Flow for Density Estimation, arXiv 1705.07057.
    """

    sequential: str | None = "forward"

    def __init__(
        self, features: int, context: int = 0, depth: int = 1, univariate: str = "affine", **options: Any
    ) -> None:
        super().__init__(features, context, depth, univariate, **options)

    @override
    def build(self, given: Given) -> Chain:
        return Chain([Inverse(layer) for layer in reversed(super().build(given).parts)])


class NAF(AutoregressiveFlow):
    """Neural autoregressive flow: `IAF` with the deep sigmoid map, which approximates any increasing function.

    References:
        Neural Autoregressive Flows, arXiv 1804.00779.
    """

    univariate: str = "sigmoid"
