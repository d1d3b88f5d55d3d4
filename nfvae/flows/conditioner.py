"""Flows whose layers compute the maps of coordinates from others, by a network conditioned on the context."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from typing_extensions import override

from nfvae.flows.base import Flow, Given, Parameters
from nfvae.flows.bijection import Bijection, Chain
from nfvae.flows.univariate import Univariate
from nfvae.flows.univariate.maker import UnivariateMaker
from nfvae.networks import ConditionedMLP
from nfvae.numerics import at_least_float32, in_precision, mixed_type
from nfvae.registry import check_number, check_sizes

_MOST_LAYERS = 1_000  # hidden layers of a conditioner


class Conditioner:
    """A network with a given context: coordinates -> the univariate maps of other coordinates.

    If made under automatic mixed precision, the network keeps it; the maps are at least float32.

    Args:
        network: gives the numbers that parametrize the maps, with shape (*, count · D).
        maps: makes maps from these numbers.
        bias: bias of the first hidden layer with shape (*, width).
    """

    def __init__(self, network: ConditionedMLP, maps: UnivariateMaker, bias: Tensor) -> None:
        self.network, self.maps, self.bias = network, maps, bias
        self.batch_shape = bias.shape[:-1]
        self.weights, self.biases = network.weights(), network.biases()  # the present values, for every later call
        self.mixed = mixed_type(bias.device)
        self.cast = [weight.to(self.mixed or weight.dtype) for weight in self.weights]  # once, not at every call

    def tensors(self) -> list[Tensor]:
        """Return the tensors that the maps are made of: see `Bijection.tensors`."""
        return [*self.weights, *self.biases, self.bias]

    def __call__(self, z: Tensor) -> Univariate:
        """Return the maps for coordinates with shape (*, inputs)."""
        with in_precision(z.device, self.mixed):
            numbers = self.network(z, self.bias, self.cast, self.biases)
        return self.maps(at_least_float32(numbers.unflatten(-1, (self.maps.count, -1))))


class ConditionedFlow(Flow):
    """A stack of layers with a network each; the context enters its first hidden layer.

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

    univariate: str
    mixed: bool = True

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
        self.steep = self.steep or self.maps.kind.steep
        widths = [hidden] * hidden_layers
        self.networks = nn.ModuleList(self.make_network(layer, widths, activation) for layer in range(depth))
        self.heads = nn.ModuleList(Parameters({f"bias{layer}": (hidden,)}, context) for layer in range(depth))

    @abstractmethod
    def make_network(self, layer: int, hidden: Sequence[int], activation: str) -> ConditionedMLP:
        """Make the network of a layer."""

    @abstractmethod
    def make_layer(self, layer: int, conditioner: Conditioner) -> Bijection:
        """Make the bijection of a layer."""

    @override
    def given(self, h: Tensor | None) -> Given:
        return {name: bias for head in self.heads for name, bias in head(h).items()}

    @override
    def build(self, given: Given) -> Chain:
        conditioners = [
            Conditioner(network, self.maps, bias)  # type: ignore[arg-type]
            for network, bias in zip(self.networks, given.values(), strict=True)
        ]
        return Chain([self.make_layer(layer, conditioner) for layer, conditioner in enumerate(conditioners)])
