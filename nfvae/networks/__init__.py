"""Neural networks without a learning problem."""

from nfvae.networks.gated import Gated, gated_mlp, he
from nfvae.networks.made import ConditionedMLP, MaskedMLP, linear
from nfvae.networks.mlp import ACTIVATIONS, make_activation, mlp

__all__ = [
    "ACTIVATIONS",
    "ConditionedMLP",
    "Gated",
    "MaskedMLP",
    "gated_mlp",
    "he",
    "linear",
    "make_activation",
    "mlp",
]
