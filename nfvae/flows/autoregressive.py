"""Autoregressive flows: the inverse autoregressive flow, and the masked one, which is it turned round."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nfvae.flows.base import Flow, Parameters
from nfvae.flows.bijection import Bijection, Chain, Inverse
from nfvae.flows.univariate import UNIVARIATES, Univariate
from nfvae.networks import MaskedMLP
from nfvae.registry import check_number, check_sizes

_MOST_LAYERS = 1_000  # of a conditioner


class InverseAutoregressive(Bijection):
    """Map every coordinate by a univariate map whose parameters are computed from the coordinates before it.

    - *Forward*: y_i = g_i(z_i), the map g_i made of z_1 ... z_{i-1}; one pass.
    - *Log-determinant*: the sum of log g_i', as the Jacobian is triangular in the conditioner's order.
    - *Inverse*: z_i = g_i⁻¹(y_i), one coordinate a pass in that order; D passes.
    - *Constraint*: that of the univariate map.

    Args:
        conditioner: z with shape (*, D) -> the maps of its D coordinates.
        order: the coordinates in the order of the conditioner, which says what comes before what.
    """

    def __init__(self, conditioner: Callable[[Tensor], Univariate], order: Sequence[int]) -> None:
        super().__init__()
        self.conditioner, self.order = conditioner, order

    def forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        y, log_slope = self.conditioner(z).forward_and_log_slope(z)
        return y, log_slope.sum(-1)

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        z, log_det = torch.zeros_like(y), y.new_zeros(y.shape[:-1])
        coordinates = torch.arange(y.shape[-1], device=y.device)
        for i in self.order:
            found, log_slope = self.conditioner(z).inverse_and_log_slope(y)
            z = torch.where(coordinates == i, found, z)
            log_det = log_det + log_slope[..., i]
        return z, log_det


class IAF(Flow):
    """Inverse autoregressive flow: a sample and its density take one pass, the density of a given point D.

    Each layer is a masked MLP in z, the order reversed between every two; the context enters as the bias of each of its
    hidden layers, and one linear head gives the biases of the whole stack.

    Args:
        features: D, the number of latent coordinates.
        context: C, the size of h; 0 makes the flow global.
        depth: number of layers.
        hidden: width of each hidden layer of a masked MLP.
        hidden_layers: number of hidden layers of a masked MLP.
        activation: a name in `nfvae.networks.ACTIVATIONS`.
        univariate: the map of a coordinate, a name in `nfvae.flows.univariate.UNIVARIATES`: `gate`, which only narrows,
            as in the paper, or `affine`, which may stretch as well; or "package.module:Class" of your own.
        univariate_options: further arguments of the map's class.

    Raises:
        ValueError: for sizes below 1, an unknown name or option, or a value that the map refuses.

    References:
        Improved Variational Inference with Inverse Autoregressive Flow, arXiv 1606.04934.
    """

    sequential: ClassVar[str | None] = "inverse"

    def __init__(
        self,
        features: int,
        context: int = 0,
        depth: int = 1,
        hidden: int = 320,
        hidden_layers: int = 2,
        activation: str = "relu",
        univariate: str = "gate",
        univariate_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(features, context, depth)
        self.univariate, self.options = UNIVARIATES.load(univariate), univariate_options or {}
        zero = {name: torch.zeros(*shape, features) for name, shape in self.univariate.shapes.items()}
        UNIVARIATES.make(univariate, self.options, **zero)  # refuses now what would fail in the first step
        check_sizes(hidden=hidden)
        check_number("hidden_layers", hidden_layers, least=1, most=_MOST_LAYERS)
        count, widths = self.univariate.count(), [hidden] * hidden_layers
        networks = [MaskedMLP(features, count, widths, activation, reverse=layer % 2 == 1) for layer in range(depth)]
        self.networks = nn.ModuleList(networks)
        self.head = Parameters({"biases": (depth, hidden_layers, hidden)}, context)
        for network in networks:
            nn.init.normal_(network.last.weight, std=0.01)
            nn.init.zeros_(network.last.bias)

    def forward(self, h: Tensor | None = None) -> Bijection:  # noqa: D102
        stacks = self.head(h)["biases"].unbind(-3)
        return Chain([self._layer(network, biases) for network, biases in zip(self.networks, stacks, strict=True)])

    def _layer(self, network: nn.Module, biases: Tensor) -> InverseAutoregressive:
        assert isinstance(network, MaskedMLP)
        bound = partial(network, biases=biases.unbind(-2), weights=network.masked_weights())
        return InverseAutoregressive(lambda z: self.univariate.from_flat(bound(z), **self.options), network.order)


class MAF(IAF):
    """Masked autoregressive flow, the inverse of `IAF`: the density of a point takes one pass a layer, a sample D.

    Arguments and errors are those of `IAF`.

    References:
        Masked Autoregressive Flow for Density Estimation, arXiv 1705.07057.
    """

    sequential: ClassVar[str | None] = "forward"

    def forward(self, h: Tensor | None = None) -> Bijection:  # noqa: D102
        return Inverse(super().forward(h))
