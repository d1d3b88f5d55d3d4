"""Multilayer perceptrons."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from torch import nn

from nfvae.networks.linear import Linear
from nfvae.registry import check_choice, check_number, check_sizes

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "relu": partial(nn.ReLU, inplace=True),  # always after a layer that does not need its output again
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}


def make_activation(name: str) -> nn.Module:
    """Build an activation from its name.

    Raises:
        ValueError: for an unknown name.
    """
    check_choice("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]()


def check_widths(hidden: Sequence[int]) -> None:
    """Refuse the widths of hidden layers if they are empty or out of range.

    Raises:
        ValueError: for invalid widths.
    """
    if isinstance(hidden, str) or not hidden:
        raise ValueError(f"hidden takes the widths of the layers, at least one; got {hidden!r}")
    for width in hidden:
        check_sizes(hidden=width)


def dropouts(share: float) -> list[nn.Module]:
    """Return a dropout layer in a list (Srivastava et al. 2014); an empty list for a share of 0.

    Raises:
        ValueError: for a share outside [0, 0.9].
    """
    check_number("dropout", share, least=0, most=0.9)
    return [nn.Dropout(share)] if share else []


def mlp(inputs: int, hidden: Sequence[int], activation: str = "relu", dropout: float = 0.0) -> nn.Sequential:
    """Stack linear layers, each followed by the activation: (*, inputs) -> (*, hidden[-1]).

    Weights are initialized as in the reference, so that signals keep their size. With PyTorch's smaller weights the
    latents carry little at first, and training lingers where the posterior equals the prior.

    Args:
        inputs: width of the input.
        hidden: widths of the layers, at least one.
        activation: a name in `ACTIVATIONS`.
        dropout: share of each layer's inputs that is dropped in training.

    Raises:
        ValueError: for an unknown activation, no layer, a width below 1, or a share outside [0, 0.9].

    References:
        Delving Deep into Rectifiers, arXiv 1502.01852.
    """
    check_widths(hidden)
    widths = [inputs, *hidden]
    layers: list[nn.Module] = []
    for width, next_width in pairwise(widths):
        linear = Linear(width, next_width)
        nn.init.kaiming_uniform_(linear.weight, nonlinearity="tanh" if activation == "tanh" else "relu")
        layers += [*dropouts(dropout), linear, make_activation(activation)]
    return nn.Sequential(*layers)
