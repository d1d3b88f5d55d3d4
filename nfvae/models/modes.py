"""The mode in which a model is evaluated, whatever mode it was left in."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

_TOO_COARSE = (torch.float16, torch.bfloat16)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Have a model in eval mode and make no graph; afterwards every part is in the mode that it was in.

    A model comes out of a training in training mode, where dropout would make two evaluations differ and a layer that
    starts from data would start from what is evaluated.

    Args:
        model: the model.

    Raises:
        ValueError: for weights of 16 bits: see `check_precision`.
    """
    check_precision(model)
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:
            module.training = False
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def check_precision(model: nn.Module) -> None:
    """Refuse a model whose weights have 16 bits.

    Raises:
        ValueError: for such a model.
    """
    weights = next(model.parameters(), None)
    if weights is not None and weights.dtype in _TOO_COARSE:
        raise ValueError(
            f"the model's weights are {weights.dtype}, in which a flow and its inverse disagree: take model.float(); "
            "for speed, torch.autocast or torch.set_float32_matmul_precision('medium') leave densities in float32"
        )
