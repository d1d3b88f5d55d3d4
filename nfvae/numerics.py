"""Numerical building blocks without any probability model in them."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

SMALLEST_SOFTPLUS = 1e-4
"""Smallest value of `shifted_softplus`: it keeps 1 + w·û and 1 + β/α away from zero in float32 too."""

_BISECTIONS = 24
_NEWTON_STEPS = 8


def at_least_float32(value: Tensor) -> Tensor:
    """Make a tensor of 16 bits float32: sums over pixels and log-determinants need it."""
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def double(value: Tensor) -> Tensor:
    """Make float64, which Apple's devices lack, so on the CPU there."""
    return (value.cpu() if value.device.type == "mps" else value).double()


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Switch automatic mixed precision off, where it is on: in 16 bits a flow and its inverse disagree."""
    return torch.autocast(device.type, enabled=False) if torch.is_autocast_enabled(device.type) else nullcontext()


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

    The unshifted softplus of the papers is ln 2 at a = 0, so that small parameters do not mean a map close to the
    identity; the shift mends that, and the floor ε keeps what is built on it invertible after rounding.

    Example:
        >>> shifted_softplus(torch.tensor([-100.0, 0.0]))
        tensor([1.0000e-04, 1.0000e+00])
    """
    return SMALLEST_SOFTPLUS + (1 - SMALLEST_SOFTPLUS) * softplus(a + math.log(math.e - 1))


def monotone_root(function: Callable[[Tensor], tuple[Tensor, Tensor]], lower: Tensor, upper: Tensor) -> Tensor:
    """Solve f(a) = 0 elementwise for an increasing f, differentiably in whatever f closes over.

    The root is bracketed by bisection and polished by Newton's method without a graph. One more Newton step on
    the graph, its slope detached, gives da/dθ = -(∂f/∂θ)/(∂f/∂a), the implicit function theorem; first
    derivatives only.

    Args:
        function: a -> (f(a), f'(a)), both of the shape of a, with f' > 0.
        lower: a tensor with f(lower) <= 0.
        upper: a tensor with f(upper) >= 0, of the shape of `lower`.

    Returns:
        The root, of the shape of `lower`.

    Example:
        >>> c = torch.tensor(8.0, requires_grad=True)
        >>> root = monotone_root(lambda a: (a**3 - c, 3 * a**2), torch.tensor(1.0), torch.tensor(5.0))
        >>> root.backward()
        >>> round(root.item(), 5), round(c.grad.item(), 5)
        (2.0, 0.08333)
    """
    with torch.no_grad():
        for _ in range(_BISECTIONS):
            root = (lower + upper) / 2
            below = function(root)[0] < 0
            lower, upper = torch.where(below, root, lower), torch.where(below, upper, root)
        for _ in range(_NEWTON_STEPS):
            value, slope = function(root)
            root = torch.clamp(root - value / slope, lower, upper)
    value, slope = function(root)
    return root - value / slope.detach()
