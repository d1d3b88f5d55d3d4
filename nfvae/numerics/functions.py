"""Functions of tensors that many models share."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

SMALLEST_SOFTPLUS = 1e-4
"""Smallest value of `shifted_softplus`: it keeps 1 + w·û and 1 + β/α away from zero in float32 too."""


def as_tensor(what: str, value: Any) -> Tensor:
    """Convert numbers, such as a NumPy array or a nested list, to a tensor.

    Args:
        what: noun for the message.
        value: the numbers.

    Raises:
        ValueError: for a value without numbers.
    """
    try:
        return value if isinstance(value, Tensor) else torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{what} must be numbers in a tensor, an array or a list; got {type(value).__name__}"
        ) from error


def log_mean_exp(x: Tensor, dim: int = 0) -> Tensor:
    """Compute log(mean(exp(x))) along `dim` without overflow.

    Args:
        x: log-values of any shape.
        dim: the dimension that is averaged and removed.

    Example:
        >>> log_mean_exp(torch.tensor([1000.0, 1000.0]))
        tensor(1000.)
    """
    return torch.logsumexp(x, dim) - math.log(x.shape[dim])


def shifted_softplus(a: Tensor) -> Tensor:
    """Map the real line onto (1e-4, ∞), increasing, with the value 1 at a = 0.

    Formula: ε + (1 - ε) softplus(a + ln(e - 1)), ε = 1e-4.

    The papers' unshifted softplus is ln 2 at a = 0, so small parameters do not give a map close to the identity. The
    shift corrects that. The floor ε keeps maps built on it invertible after rounding.

    Example:
        >>> shifted_softplus(torch.tensor([-100.0, 0.0]))
        tensor([1.0000e-04, 1.0000e+00])
    """
    return SMALLEST_SOFTPLUS + (1 - SMALLEST_SOFTPLUS) * softplus(a + math.log(math.e - 1))


def bounded(score: Tensor, bound: float) -> Tensor:
    """Squeeze the real line into (-bound, bound), with slope 1 at zero: bound tanh(score/bound)."""
    return bound * torch.tanh(score / bound)


def softly_between(value: Tensor, least: float, most: float) -> Tensor:
    """Clamp a tensor smoothly and increasingly, with slope near 1 well inside and near 0 well outside.

    Formula: a + softplus(v - a) - softplus(v - b).
    """
    return least + softplus(value - least) - softplus(value - most)
