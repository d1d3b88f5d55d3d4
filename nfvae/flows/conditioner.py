"""Flows whose layers compute the maps of coordinates from other coordinates, by a network that knows the context."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from nfvae.flows.base import Flow, Parameters
from nfvae.flows.bijection import Bijection, Chain
from nfvae.flows.univariate import Univariate, UnivariateMaker
from nfvae.networks import ConditionedMLP
from nfvae.registry import check_number, check_sizes

_MOST_LAYERS = 1_000  # of a conditioner


class Conditioner:
    """A network with its biases at hand: coordinates -> the univariate maps of other coordinates.

    Args:
        network: gives the numbers that parametrize the maps, with shape (*, count · D).
        maps: makes maps of such numbers.
        biases: of the hidden layers, each with shape (*, width).
    """

    def __init__(self, network: ConditionedMLP, maps: UnivariateMaker, biases: Sequence[Tensor]) -> None:
        self.network, self.maps, self.biases, self.weights = network, maps, biases, network.weights()

    def __call__(self, z: Tensor) -> Univariate:
        """Return the maps for coordinates with shape (*, inputs)."""
        return self.maps(self.network(z, self.biases, self.weights).unflatten(-1, (self.maps.count, -1)))


class ConditionedFlow(Flow):
    """A stack of layers with a network each; the context enters every hidden layer, by one head for the whole stack.

    Args:
        features: D, the number of latent coordinates.
        context: C, the size of h; 0 makes the flow global.
        depth: number of layers.
        hidden: width of each hidden layer of a network.
        hidden_layers: number of hidden layers of a network.
        activation: a name in `nfvae.networks.ACTIVATIONS`.
        univariate_options: further arguments of the univariate map's class.

    Raises:
        ValueError: for sizes below 1, an unknown name or option, or a value that the map refuses.
    """

    univariate: ClassVar[str]

    def __init__(
        self,
        features: int,
        context: int = 0,
        depth: int = 1,
        hidden: int = 320,
        hidden_layers: int = 2,
        activation: str = "relu",
        univariate_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(features, context, depth)
        check_sizes(hidden=hidden)
        check_number("hidden_layers", hidden_layers, least=1, most=_MOST_LAYERS)
        self.maps = UnivariateMaker(self.univariate, univariate_options)
        self.steep = self.steep or self.maps.kind.steep  # type: ignore[misc]  # of this flow alone
        widths = [hidden] * hidden_layers
        self.networks = nn.ModuleList(self.make_network(layer, widths, activation) for layer in range(depth))
        self.head = Parameters({"biases": (depth, hidden_layers, hidden)}, context)

    @abstractmethod
    def make_network(self, layer: int, hidden: Sequence[int], activation: str) -> ConditionedMLP:
        """Make the network of a layer."""

    @abstractmethod
    def make_layer(self, layer: int, conditioner: Conditioner) -> Bijection:
        """Make the bijection of a layer."""

    def forward(self, h: Tensor | None = None) -> Chain:  # noqa: D102
        stacks = self.head(h)["biases"].unbind(-3)
        conditioners = [
            Conditioner(network, self.maps, biases.unbind(-2))  # type: ignore[arg-type]
            for network, biases in zip(self.networks, stacks, strict=True)
        ]
        return Chain([self.make_layer(layer, conditioner) for layer, conditioner in enumerate(conditioners)])
