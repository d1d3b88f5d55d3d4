"""Neural networks, independent of any model."""

from nfvae.networks.gated import Gated, gated_mlp, he
from nfvae.networks.linear import Linear, linear
from nfvae.networks.made import ConditionedMLP, MaskedMLP
from nfvae.networks.mlp import ACTIVATIONS, make_activation, mlp
from nfvae.networks.residual import ResidualBlock
from nfvae.networks.scaling import Scaling
from nfvae.networks.sides import channels_and_sides, halved

__all__ = [
    "ACTIVATIONS",
    "ConditionedMLP",
    "Gated",
    "Linear",
    "MaskedMLP",
    "ResidualBlock",
    "Scaling",
    "channels_and_sides",
    "gated_mlp",
    "halved",
    "he",
    "linear",
    "make_activation",
    "mlp",
]
