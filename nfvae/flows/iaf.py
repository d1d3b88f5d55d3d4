"""The inverse autoregressive flow (Kingma et al., 2016)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nfvae.bijections import Bijection, Chain
from nfvae.flows.base import Flow, Parameters
from nfvae.networks import MaskedMLP

SCALES = ("gate", "exp")
_LARGEST_LOG_SCALE = 3.0


class InverseAutoregressive(Bijection):
    """Scale and shift every coordinate by numbers computed from the coordinates before it (Kingma et al., 2016).

    - *Forward*: y = a z + b, where a and b come from (m, s) = network(z), which is autoregressive; one pass.
    - *Log-determinant*: the sum of log a, as the Jacobian is triangular in the network's order.
    - *Inverse*: z_i = (y_i - b_i)/a_i, one coordinate a pass in that order; D passes.
    - *Constraint*: scale `gate`, algorithm 1 of the paper: a = floor + (1 - floor) sigmoid(s + bias) and b = (1 - a) m,
      so that a layer only narrows; the floor, which bounds the inverse's 1/a, is not in the paper. Scale `exp`:
      a = exp(3 tanh(s/3)) and b = m, free to stretch as well, as in masked autoregressive flows (Papamakarios et al.,
      2017), but for the bound of log a.

    Args:
        network: z with shape (*, D) -> tensor with shape (*, 2, D) that holds m and s.
        order: the coordinates in the order of the network, which says what comes before what.
        scale: `gate` or `exp`.
        gate_bias: added to s; positive values start the gates near 1.
        gate_floor: smallest gate, between 0 and 1.
    """

    def __init__(
        self,
        network: Callable[[Tensor], Tensor],
        order: Sequence[int],
        scale: str = "gate",
        gate_bias: float = 2.0,
        gate_floor: float = 1e-3,
    ) -> None:
        super().__init__()
        self.network, self.order, self.scale = network, order, scale
        self.gate_bias, self.gate_floor = gate_bias, gate_floor

    def forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        scale, shift = self._scale_and_shift(z)
        return torch.addcmul(shift, scale, z), scale.log().sum(-1)

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        z, log_det = torch.zeros_like(y), y.new_zeros(y.shape[:-1])
        coordinates = torch.arange(y.shape[-1], device=y.device)
        for i in self.order:
            scale, shift = self._scale_and_shift(z)
            z = torch.where(coordinates == i, (y - shift) / scale, z)
            log_det = log_det - scale[..., i].log()
        return z, log_det

    def _scale_and_shift(self, z: Tensor) -> tuple[Tensor, Tensor]:
        mean, score = self.network(z).unbind(-2)
        if self.scale == "exp":
            return torch.exp(_LARGEST_LOG_SCALE * torch.tanh(score / _LARGEST_LOG_SCALE)), mean
        gate = self.gate_floor + (1 - self.gate_floor) * torch.sigmoid(score + self.gate_bias)
        return gate, torch.addcmul(mean, gate, mean, value=-1)


class IAFFlow(Flow):
    """A stack of inverse autoregressive layers, the order reversed between every two (Kingma et al., 2016).

    Each layer is a masked MLP in z; the context enters as the bias of each of its hidden layers, and one linear
    head gives the biases of the whole stack.

    Args:
        features: D, the number of latent coordinates.
        context: C, the size of h; 0 makes the flow global.
        depth: number of layers.
        hidden: width of each hidden layer of a masked MLP.
        hidden_layers: number of hidden layers of a masked MLP.
        activation: a key of `nfvae.networks.ACTIVATIONS`.
        scale: `gate`, which only narrows, or `exp`: see `InverseAutoregressive`.
        gate_bias: bias of the gates, towards 1 at the start.
        gate_floor: smallest gate, in [0, 1).

    Raises:
        ValueError: for sizes below 1, an unknown scale or a gate floor outside [0, 1).
    """

    def __init__(
        self,
        features: int,
        context: int = 0,
        depth: int = 1,
        hidden: int = 320,
        hidden_layers: int = 2,
        activation: str = "relu",
        scale: str = "gate",
        gate_bias: float = 2.0,
        gate_floor: float = 1e-3,
    ) -> None:
        super().__init__(features, context, depth)
        if scale not in SCALES:
            raise ValueError(f"unknown scale {scale!r}; known scales: {', '.join(SCALES)}")
        if not 0 <= gate_floor < 1:
            raise ValueError(f"gate_floor must be in [0, 1); got {gate_floor}")
        widths = [hidden] * hidden_layers
        networks = [MaskedMLP(features, 2, widths, activation, reverse=layer % 2 == 1) for layer in range(depth)]
        self.networks = nn.ModuleList(networks)
        self.head = Parameters({"biases": (depth, hidden_layers, hidden)}, context)
        self.scaling: dict[str, Any] = {"scale": scale, "gate_bias": gate_bias, "gate_floor": gate_floor}
        for network in networks:
            nn.init.normal_(network.last.weight, std=0.01)
            nn.init.zeros_(network.last.bias)

    def forward(self, h: Tensor | None = None) -> Bijection:  # noqa: D102
        stacks = self.head(h)["biases"].unbind(-3)
        return Chain([self._layer(network, biases) for network, biases in zip(self.networks, stacks, strict=True)])

    def _layer(self, network: nn.Module, biases: Tensor) -> InverseAutoregressive:
        assert isinstance(network, MaskedMLP)
        bound = partial(network, biases=biases.unbind(-2), weights=network.masked_weights())
        return InverseAutoregressive(bound, network.order, **self.scaling)
