"""Differentiable solutions of triangular systems and roots of increasing functions."""

from collections.abc import Callable

import torch
from torch import Tensor

from nfvae.numerics.guards import first_derivative_only

_MOST_STEPS = 100  # per search; bisection alone would need about 60
_CHECK_EVERY = 3  # steps
_SHORTEST_REACH = 1e-12  # so that a reach can grow again
_JACOBI_ROUNDING = 4  # tolerance, in rounding errors of the largest entry
_STEP_LIMIT = 16  # largest step of a settled root, in rounding errors


def solve_triangular(matrix: Tensor, vector: Tensor, upper: bool, unitriangular: bool = False) -> Tensor:
    """Solve matrix · x = vector without copying the matrix for each sample that shares it.

    Args:
        matrix: triangular matrix with shape (*, M, M).
        vector: right-hand side with shape (samples, *, M); samples may span several dimensions.
        upper: whether the matrix is upper triangular, else lower.
        unitriangular: whether the diagonal is taken to be 1.

    Example:
        >>> solve_triangular(torch.tensor([[2.0, 0.0], [1.0, 1.0]]), torch.ones(3, 2), upper=False)[0]
        tensor([0.5000, 0.5000])
    """
    batch = matrix.ndim - 2
    shared = vector.ndim - 1 - batch
    if shared < 1 or vector.shape[shared:-1] != matrix.shape[:-2]:
        solved = torch.linalg.solve_triangular(matrix, vector.unsqueeze(-1), upper=upper, unitriangular=unitriangular)
        return solved.squeeze(-1)  # type: ignore[no-any-return]
    columns = vector.flatten(0, shared - 1).movedim(0, -1)
    solved = torch.linalg.solve_triangular(matrix, columns, upper=upper, unitriangular=unitriangular)
    return solved.movedim(-1, 0).reshape(vector.shape)  # type: ignore[no-any-return]


def monotone_root(function: Callable[[Tensor], tuple[Tensor, Tensor]], lower: Tensor, upper: Tensor) -> Tensor:
    """Solve f(a) = 0 elementwise for an increasing f, differentiably in the tensors f closes over.

    Newton's method inside a bracket that every evaluation narrows. If a step leaves the bracket, or is longer than half
    the previous step, the bracket is halved instead. A last Newton step on the graph, with detached slope, gives
    da/dθ = -(∂f/∂θ)/(∂f/∂a) by the implicit function theorem; first derivatives only.

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
        root, step = (lower + upper) / 2, upper - lower
        for count in range(_MOST_STEPS):
            value, slope = function(root)
            below = value < 0
            lower, upper = torch.where(below, root, lower), torch.where(below, upper, root)
            newton = root - value / slope
            good = (newton >= lower) & (newton <= upper) & (2 * (newton - root).abs() <= step)
            following = torch.where(good, newton, (lower + upper) / 2)
            step, root = (following - root).abs(), following
            if count % _CHECK_EVERY == 0 and _is_settled(step, root, slope):
                break
    value, slope = function(root)
    return root - first_derivative_only(value) / slope.detach()


def triangular_root(
    function: Callable[[Tensor], tuple[Tensor, Tensor]],
    jacobian: Callable[[Tensor], Tensor],
    start: Tensor,
    upper: bool,
) -> Tensor:
    """Solve f(s) = 0 for a triangular map f, f_i increasing in s_i, differentiably in the tensors f closes over.

    All coordinates are solved at once by Newton's method, each with its own slope and its own longest step, the reach.
    The reach is halved where f_i changes sign, as in bisection, and doubled where s_i keeps moving the same way. So a
    coordinate settles once the coordinates it depends on have settled. A last Newton step on the graph, with the full
    Jacobian detached, gives the gradient by the implicit function theorem; first derivatives only.

    Args:
        function: s -> (f(s), ∂f_i/∂s_i), both with shape (*, D), with positive slopes.
        jacobian: s -> ∂f_i/∂s_j with shape (*, D, D); only one triangle is read.
        start: where the search starts, with shape (*, D).
        upper: whether f_i depends on s_i ... s_D, else on s_1 ... s_i.

    Returns:
        The root, with shape (*, D).

    Example:
        >>> matrix = torch.tensor([[2.0, 0.0], [1.0, 3.0]])
        >>> f = lambda s: (s @ matrix.T - torch.tensor([2.0, 7.0]), matrix.diagonal().expand_as(s))
        >>> triangular_root(f, lambda s: matrix, torch.zeros(2), upper=False)
        tensor([1., 2.])
    """
    with torch.no_grad():
        root = _search(function, start)
    value, slope = function(root)
    if not value.requires_grad:
        return root - value / slope
    with torch.no_grad():
        matrix = jacobian(root)
    return root - solve_triangular(matrix, first_derivative_only(value), upper=upper)


def solve_transposed(z: Tensor, y: Tensor, slope: Tensor, vector: Tensor) -> Tensor:
    """Solve Jᵀ s = v for the triangular Jacobian J = dy/dz, whatever the order of its coordinates.

    Jacobi's iteration s <- s + (v - Jᵀ s)/diag(J): the off-diagonal part of J is nilpotent, so D steps are exact, and
    usually a few suffice. Each step takes one vector-Jacobian product.

    Args:
        z: points with shape (*, D) that require a gradient.
        y: images of z, on the graph.
        slope: diagonal of J with shape (*, D).
        vector: v with shape (*, D).
    """
    solution = vector / slope
    for _ in range(z.shape[-1] - 1):
        (product,) = torch.autograd.grad(y, z, solution, retain_graph=True)
        change = (vector - product) / slope
        solution = solution + change
        if change.abs().max() <= _JACOBI_ROUNDING * torch.finfo(z.dtype).eps * solution.abs().max():
            break
    return solution


def _search(function: Callable[[Tensor], tuple[Tensor, Tensor]], root: Tensor) -> Tensor:
    value, slope = function(root)
    reach = value.abs() + 1
    root, sign, same = root.expand_as(value), value.sign(), torch.zeros_like(value)
    for count in range(root.shape[-1] * _MOST_STEPS):
        newton = value / slope
        if count % _CHECK_EVERY == 0 and _is_settled(newton.abs(), root, slope):
            break
        step = newton.clamp(-reach, reach)
        root = root - step
        value, slope = function(root)
        turned = value.sign() != sign
        same = torch.where(turned, 0.0, same + (step.abs() >= reach))
        reach = torch.where(turned, reach / 2, torch.where(same > 2, 2 * reach, reach)).clamp_min(_SHORTEST_REACH)
        sign = value.sign()
    return root


def _is_settled(step: Tensor, root: Tensor, slope: Tensor) -> bool:
    """Return whether every step is within rounding error, which grows where the slope is small.

    False under `vmap`, where values cannot decide.
    """
    small = step * slope.clamp_max(1) <= _STEP_LIMIT * torch.finfo(root.dtype).eps * root.abs().clamp_min(1)
    try:
        return bool(small.all())
    except RuntimeError:
        return False
