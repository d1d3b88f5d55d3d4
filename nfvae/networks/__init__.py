"""Neural networks, independent of any model."""

from nfvae.networks.gated import Gated, gated_mlp, he
from nfvae.networks.linear import Linear, linear
from nfvae.networks.made import ConditionedMLP, MaskedMLP
from nfvae.networks.mlp import ACTIVATIONS, make_activation, mlp
from nfvae.networks.residual import ResidualBlock
from nfvae.networks.sides import halved, height_and_width

__all__ = [
    "ACTIVATIONS",
    "ConditionedMLP",
    "Gated",
    "Linear",
    "MaskedMLP",
    "ResidualBlock",
    "gated_mlp",
    "halved",
    "he",
    "height_and_width",
    "linear",
    "make_activation",
    "mlp",
]
