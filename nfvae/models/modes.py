"""Evaluation of a model in eval mode, whatever mode it was left in."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

_TOO_COARSE = (torch.float16, torch.bfloat16)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in eval mode without gradients; restore the mode of every part afterwards.

    Training leaves a model in training mode, where dropout would make two evaluations differ, and a layer initialized
    from data would use the evaluated data.

    Args:
        model: the model.

    Raises:
        ValueError: for 16-bit weights: see `check_precision`.
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
    """Refuse a model with 16-bit weights.

    Raises:
        ValueError: for 16-bit weights.
    """
    weights = next(model.parameters(), None)
    if weights is not None and weights.dtype in _TOO_COARSE:
        raise ValueError(
            f"the model's weights are {weights.dtype}, in which a flow and its inverse disagree: take model.float(); "
            "for speed, torch.autocast or torch.set_float32_matmul_precision('medium') leave densities in float32"
        )
