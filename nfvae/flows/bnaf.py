"""The block neural autoregressive flow."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from typing_extensions import override

from nfvae.flows.base import Flow, Given, Parameters
from nfvae.flows.bijection import Bijection, Chain
from nfvae.networks import linear
from nfvae.numerics import shifted_softplus, solve_triangular, triangular_root
from nfvae.registry import check_number, check_sizes

_LEAK = 0.01  # slope of the activation far from zero, without which no layer would be onto R
_GATE_BIAS = -2.0
_MOST_LAYERS = 100


class BlockAutoregressive(Bijection):
    """One block-triangular network for all coordinates, increasing in each of them (equation 6 of the reference).

    - *Forward*: y = (1 - g) z + g f(z), f a network with tanh(x) + 0.01 x between its layers. The units of
      coordinate i see those of coordinates 1 ... i, with positive weights for i itself.
    - *Log-determinant*: Σ log(1 - g_i + g_i f_i'), f_i' a product of the diagonal blocks and the activation's slopes.
      All factors are positive, so nothing cancels.
    - *Inverse*: all coordinates are solved at once: see `triangular_root`.
    - *Constraint*: the diagonal blocks are positive, by `shifted_softplus`, which does not overflow as the
      reference's exponential does; 0 < g < 1.

    With tanh alone, the map is not onto R, and the density would not integrate to one.

    Args:
        weights: weights of the layers with shape (units out, units in); blocks above the diagonal are 0.
        diagonals: diagonal blocks of the weights, each with shape (D, out, in).
        biases: biases of the layers, each with shape (*, units out).
        gate: g with shape (*, D).
        reverse: whether the order of the coordinates is D-1 ... 0.

    References:
        Block Neural Autoregressive Flow, arXiv 1904.04676.
    """

    def __init__(
        self, weights: list[Tensor], diagonals: list[Tensor], biases: list[Tensor], gate: Tensor, reverse: bool
    ) -> None:
        super().__init__(gate.shape)
        self.weights, self.diagonals, self.biases, self.gate, self.reverse = weights, diagonals, biases, gate, reverse

    @override
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        y, slope = self._value_and_slope(self._ordered(z))
        return self._ordered(y), slope.log().sum(-1)

    @torch.no_grad()
    @override
    def pull_back(self, z: Tensor, y: Tensor, vector: Tensor) -> Tensor:
        return self._ordered(solve_triangular(self._jacobian(self._ordered(z)).mT, self._ordered(vector), upper=True))

    @override
    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        target = self._ordered(y)

        def excess(z: Tensor) -> tuple[Tensor, Tensor]:
            value, slope = self._value_and_slope(z)
            return value - target, slope

        z = triangular_root(excess, self._jacobian, target, upper=False)
        return self._ordered(z), -self._value_and_slope(z)[1].log().sum(-1)

    def _ordered(self, z: Tensor) -> Tensor:
        return z.flip(-1) if self.reverse else z

    def _value_and_slope(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and dy_i/dz_i, both with shape (*, D)."""
        units, growth = z, None
        for weight, diagonal, bias in zip(self.weights, self.diagonals, self.biases, strict=True):
            before = linear(units, weight, bias)
            growth = diagonal[..., 0] if growth is None else torch.einsum("dij,...dj->...di", diagonal, growth)
            if weight is not self.weights[-1]:
                t = before.tanh()
                units = torch.add(t, before, alpha=_LEAK)
                growth = growth * (1 + _LEAK - t.square()).view(*t.shape[:-1], z.shape[-1], t.shape[-1] // z.shape[-1])
        assert growth is not None
        return torch.lerp(z, before, self.gate), torch.lerp(torch.ones_like(z), growth.squeeze(-1), self.gate)

    def _jacobian(self, z: Tensor) -> Tensor:
        """Return dy_i/dz_j with shape (*, D, D)."""
        units, jacobian = z, None
        for weight, bias in zip(self.weights, self.biases, strict=True):
            before = linear(units, weight, bias)
            jacobian = weight if jacobian is None else weight @ jacobian
            if weight is not self.weights[-1]:
                t = before.tanh()
                units = torch.add(t, before, alpha=_LEAK)
                jacobian = (1 + _LEAK - t.square()).unsqueeze(-1) * jacobian
        assert jacobian is not None
        return torch.diag_embed(1 - self.gate) + self.gate.unsqueeze(-1) * jacobian


class BlockNetwork(nn.Module):
    """The weights of one layer of the flow.

    Args:
        features: D, the number of coordinates.
        widths: units per coordinate in each layer; the first and the last are 1.
    """

    def __init__(self, features: int, widths: list[int]) -> None:
        super().__init__()
        self.features = features
        self.scores, self.diagonal_scores = nn.ParameterList(), nn.ParameterList()
        for before, after in pairwise(widths):
            spread = (features * before) ** -0.5
            self.scores.append(spread * torch.randn(features * after, features * before))
            self.diagonal_scores.append(spread * torch.randn(features, after, before))

    @override
    def forward(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return weights and their diagonal blocks, as `BlockAutoregressive` takes them."""
        diagonals = [shifted_softplus(scores) / scores.shape[-1] for scores in self.diagonal_scores]
        return [self._weight(*pair) for pair in zip(self.scores, diagonals, strict=True)], diagonals

    def _weight(self, scores: Tensor, diagonal: Tensor) -> Tensor:
        after, before = diagonal.shape[1:]
        below = torch.ones(self.features, self.features, dtype=scores.dtype, device=scores.device).tril(-1)
        blocks = scores.view(self.features, after, self.features, before) * below[:, None, :, None]
        blocks = blocks + torch.diag_embed(diagonal.movedim(0, -1)).permute(2, 0, 3, 1)
        return blocks.reshape(scores.shape)


class BNAF(Flow):
    """A stack of block networks, reversed from layer to layer; the context enters by all biases.

    Args:
        features: D, the number of latent coordinates.
        context: C, the size of h; 0 makes the flow global.
        depth: number of layers.
        hidden: units per coordinate in a hidden layer.
        hidden_layers: number of hidden layers of a network.

    Raises:
        ValueError: for sizes below 1.

    References:
        Block Neural Autoregressive Flow, arXiv 1904.04676.
    """

    def __init__(
        self, features: int, context: int = 0, depth: int = 1, hidden: int = 8, hidden_layers: int = 1
    ) -> None:
        super().__init__(features, context, depth)
        check_sizes(hidden=hidden)
        check_number("hidden_layers", hidden_layers, least=1, most=_MOST_LAYERS)
        self.widths = [1, *[hidden] * hidden_layers, 1]
        self.networks = nn.ModuleList(BlockNetwork(features, self.widths) for _ in range(depth))
        sizes = {f"bias{place}": (depth, width * features) for place, width in enumerate(self.widths[1:])}
        self.head = Parameters({**sizes, "gate": (depth, features)}, context)

    @override
    def given(self, h: Tensor | None) -> Given:
        given: Given = self.head(h)
        return given

    @override
    def build(self, given: Given) -> Chain:
        *biases, gate = (value.unbind(-2) for value in given.values())
        layers = []
        for layer, network in enumerate(self.networks):
            weights, diagonals = network()
            own = [bias[layer] for bias in biases]
            gates = torch.sigmoid(gate[layer] + _GATE_BIAS)
            layers.append(BlockAutoregressive(weights, diagonals, own, gates, reverse=layer % 2 == 1))
        return Chain(layers)
