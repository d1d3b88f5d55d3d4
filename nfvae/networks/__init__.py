"""Neural networks without a learning problem."""

from nfvae.networks.made import ConditionedMLP, MaskedMLP, linear
from nfvae.networks.mlp import ACTIVATIONS, make_activation, mlp

__all__ = ["ACTIVATIONS", "ConditionedMLP", "MaskedMLP", "linear", "make_activation", "mlp"]
