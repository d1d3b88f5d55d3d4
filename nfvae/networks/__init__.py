"""Neural networks without a learning problem."""

from nfvae.networks.made import MaskedMLP
from nfvae.networks.mlp import ACTIVATIONS, make_activation, mlp

__all__ = ["ACTIVATIONS", "MaskedMLP", "make_activation", "mlp"]
