"""Jacobians as matrices: determinants, linear systems, and when an iteration has ended."""

import torch
from torch import Tensor

_SETTLED = 8  # last step of an iteration, in rounding errors


def plus_identity(matrix: Tensor) -> Tensor:
    """Return I + M for matrices with shape (*, D, D)."""
    return matrix + torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)


def log_abs_det(matrix: Tensor) -> Tensor:
    """Return log|det M| with shape (*) for matrices with shape (*, D, D)."""
    log_det: Tensor = torch.linalg.slogdet(matrix).logabsdet
    return log_det


def solved(matrix: Tensor, vector: Tensor) -> Tensor:
    """Solve M x = v for matrices with shape (*, D, D) and vectors with shape (*, D)."""
    solution: Tensor = torch.linalg.solve(matrix, vector.unsqueeze(-1)).squeeze(-1)
    return solution


def is_settled(step: Tensor, points: Tensor) -> bool:
    """Return whether the last step of an iteration to points with shape (*, D) is within rounding error.

    False under `vmap`, where values cannot decide.
    """
    size = points.abs().amax(-1, keepdim=True).clamp_min(1) if points.numel() else points
    try:
        return bool((step.abs() <= _SETTLED * torch.finfo(points.dtype).eps * size).all())
    except RuntimeError:
        return False
