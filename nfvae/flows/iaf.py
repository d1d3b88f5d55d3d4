"""The inverse autoregressive flow (Kingma et al., 2016)."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from nfvae.bijections import Bijection, Chain
from nfvae.flows.base import Flow, Parameters
from nfvae.networks import MaskedMLP


class InverseAutoregressive(Bijection):
    """Gate every coordinate by numbers computed from the coordinates before it (Kingma et al., 2016, algorithm 1).

    - *Forward*: y = g z + (1 - g) m, where (m, s) = network(z) is autoregressive; one pass.
    - *Log-determinant*: the sum of log g, as the Jacobian is triangular in the network's order.
    - *Inverse*: z_i = m_i + (y_i - m_i)/g_i, one coordinate a pass in that order; D passes.
    - *Constraint*: g = floor + (1 - floor) sigmoid(s + bias), between `floor` and 1.

    The floor is not in the paper: it bounds the inverse's 1/g.

    Args:
        network: z with shape (*, D) -> tensor with shape (*, 2, D) that holds m and s.
        order: the coordinates in the order of the network, which says what comes before what.
        gate_bias: added to s; positive values start the gates near 1.
        gate_floor: smallest gate, between 0 and 1.
    """

    def __init__(
        self,
        network: Callable[[Tensor], Tensor],
        order: Sequence[int],
        gate_bias: float = 2.0,
        gate_floor: float = 1e-3,
    ) -> None:
        super().__init__()
        self.network, self.order = network, order
        self.gate_bias, self.gate_floor = gate_bias, gate_floor

    def forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        mean, gate = self._mean_and_gate(z)
        return torch.lerp(mean, z, gate), gate.log().sum(-1)

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        z, log_det = torch.zeros_like(y), y.new_zeros(y.shape[:-1])
        coordinates = torch.arange(y.shape[-1], device=y.device)
        for i in self.order:
            mean, gate = self._mean_and_gate(z)
            z = torch.where(coordinates == i, mean + (y - mean) / gate, z)
            log_det = log_det - gate[..., i].log()
        return z, log_det

    def _mean_and_gate(self, z: Tensor) -> tuple[Tensor, Tensor]:
        mean, score = self.network(z).unbind(-2)
        return mean, self.gate_floor + (1 - self.gate_floor) * torch.sigmoid(score + self.gate_bias)


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
        gate_bias: bias of the gates, towards 1 at the start.
        gate_floor: smallest gate, in [0, 1).

    Raises:
        ValueError: for sizes below 1 or a gate floor outside [0, 1).
    """

    def __init__(
        self,
        features: int,
        context: int = 0,
        depth: int = 1,
        hidden: int = 320,
        hidden_layers: int = 2,
        activation: str = "relu",
        gate_bias: float = 2.0,
        gate_floor: float = 1e-3,
    ) -> None:
        super().__init__(features, context, depth)
        if not 0 <= gate_floor < 1:
            raise ValueError(f"gate_floor must be in [0, 1); got {gate_floor}")
        widths = [hidden] * hidden_layers
        networks = [MaskedMLP(features, 2, widths, activation, reverse=layer % 2 == 1) for layer in range(depth)]
        self.networks = nn.ModuleList(networks)
        self.head = Parameters({"biases": (depth, hidden_layers, hidden)}, context)
        self.gate = {"gate_bias": gate_bias, "gate_floor": gate_floor}
        for network in networks:
            nn.init.normal_(network.last.weight, std=0.01)
            nn.init.zeros_(network.last.bias)

    def forward(self, h: Tensor | None = None) -> Chain:  # noqa: D102
        stacks = self.head(h)["biases"].unbind(-3)
        return Chain([self._layer(network, biases) for network, biases in zip(self.networks, stacks, strict=True)])

    def _layer(self, network: nn.Module, biases: Tensor) -> InverseAutoregressive:
        assert isinstance(network, MaskedMLP)
        bound = partial(network, biases=biases.unbind(-2), weights=network.masked_weights())
        return InverseAutoregressive(bound, network.order, **self.gate)
