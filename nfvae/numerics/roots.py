"""Triangular systems, and roots of increasing functions, differentiably."""

from collections.abc import Callable

import torch
from torch import Tensor

from nfvae.numerics.guards import first_derivative_only

_MOST_STEPS = 100  # of a search for roots; bisection alone would need about 60
_CHECK_EVERY = 3  # steps
_SHORTEST_REACH = 1e-12  # from which a reach must be able to grow again
_JACOBI_ROUNDING = 4  # rounding errors of the largest entry
_STEP_LIMIT = 16  # rounding errors that a root at rest may still move by


def solve_triangular(matrix: Tensor, vector: Tensor, upper: bool, unitriangular: bool = False) -> Tensor:
    """Solve matrix · x = vector, without a copy of the matrix for each of the samples that share it.

    Args:
        matrix: triangular, with shape (*, M, M).
        vector: with shape (samples, *, M), any number of dimensions for the samples.
        upper: whether the matrix is upper triangular, else lower.
        unitriangular: whether its diagonal is taken to be 1.

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
    """Solve f(a) = 0 elementwise for an increasing f, differentiably in whatever f closes over.

    Newton's method inside a bracket that every evaluation narrows; where a step leaves the bracket, or is not half as
    long as the one before, the bracket is halved. One more Newton step on the graph, its slope detached, gives
    da/dθ = -(∂f/∂θ)/(∂f/∂a), the implicit function theorem; first derivatives only.

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
    """Solve f(s) = 0 for a triangular map f, each f_i increasing in s_i, differentiably in what f closes over.

    All coordinates are sought at once, each by Newton's method on its own slope, inside a reach: where the sign of f_i
    changes the reach is halved, as in a bisection; where s_i goes the same way again and again it is doubled. So a
    coordinate finds its root once those that it depends on have found theirs. One more Newton step on the graph,
    with the whole Jacobian, detached, gives the gradient by the implicit function theorem; first derivatives only.

    Args:
        function: s -> (f(s), ∂f_i/∂s_i), both with shape (*, D), with positive slopes.
        jacobian: s -> ∂f_i/∂s_j with shape (*, D, D), of which only one triangle is looked at.
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

    Jacobi's iteration s <- s + (v - Jᵀ s)/diag(J): the rest of a triangular matrix is nilpotent, so that D steps are
    exact, and mostly a few do; each takes a vector-Jacobian product.

    Args:
        z: points with shape (*, D) that require a gradient.
        y: their images, on the graph.
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
    """Tell whether no element moves by more than rounding makes of it, a small slope much.

    Never under `vmap`, where nothing may be decided by values.
    """
    small = step * slope.clamp_max(1) <= _STEP_LIMIT * torch.finfo(root.dtype).eps * root.abs().clamp_min(1)
    try:
        return bool(small.all())
    except RuntimeError:
        return False
