"""Linear flows: any invertible matrix by its triangular factors, and permutations."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.flows.base import Flow, Given, ParametricFlow, Shapes
from nfvae.flows.bijection import Bijection, Chain
from nfvae.numerics import shifted_softplus, solve_triangular
from nfvae.registry import check_choice

_PERMUTATION_SEED = 20180709


class Permutation(Bijection):
    """Reorder the coordinates.

    - *Forward*: y_i = z_{p(i)}.
    - *Log-determinant*: 0.
    - *Inverse*: z_{p(i)} = y_i.
    - *Constraint*: p is a permutation of 0 ... D-1.

    Args:
        order: p with shape (D,).
    """

    def __init__(self, order: Tensor) -> None:
        super().__init__(order.shape)
        self.order = order

    @override
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z.index_select(-1, self.order), z.new_zeros(z.shape[:-1])

    @override
    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return y.index_select(-1, self.order.argsort()), y.new_zeros(y.shape[:-1])


ORDERS: dict[str, Callable[[int], Tensor]] = {
    "identity": torch.arange,
    "reverse": lambda features: torch.arange(features).flip(0),
    "random": lambda features: torch.randperm(
        features, generator=torch.Generator().manual_seed(_PERMUTATION_SEED), device="cpu"
    ),
}
"""Permutations of 0 ... D-1 by name; `random` is the same in every run."""


class TriangularFactors(Bijection):
    """Multiply by a matrix given as its triangular factors, and shift (section 3.2 of the reference).

    - *Forward*: y = L U z + t.
    - *Log-determinant*: the sum of the logarithms of U's diagonal.
    - *Inverse*: z = U⁻¹ L⁻¹ (y - t), by two substitutions.
    - *Constraint*: L has a unit diagonal; that of U is positive, by `shifted_softplus`.

    Args:
        lower: L, with shape (*, D, D).
        upper: U, with shape (*, D, D).
        shift: t, with shape (*, D).

    References:
        Glow: Generative Flow with Invertible 1x1 Convolutions, arXiv 1807.03039.
    """

    def __init__(self, lower: Tensor, upper: Tensor, shift: Tensor) -> None:
        super().__init__(shift.shape)
        self.lower, self.upper, self.shift = lower, upper, shift

    @staticmethod
    @override
    def constrain(below: Tensor, above: Tensor, diagonal: Tensor, shift: Tensor) -> dict[str, Tensor]:
        """Assemble L and U.

        Args:
            below: √D times the entries of L below the diagonal, row by row, with shape (*, D(D-1)/2).
            above: √D times the entries of U above the diagonal, column by column, with shape (*, D(D-1)/2).
            diagonal: unconstrained, with shape (*, D); zeros give a unit diagonal.
            shift: t, with shape (*, D).
        """
        features = diagonal.shape[-1]
        rows, columns = torch.tril_indices(features, features, -1, device=below.device)
        lower = torch.diag_embed(torch.ones_like(diagonal))
        lower[..., rows, columns] = below / features**0.5
        upper = torch.diag_embed(shifted_softplus(diagonal))
        upper[..., columns, rows] = above / features**0.5
        return {"lower": lower, "upper": upper, "shift": shift}

    @override
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.einsum("...ij,...j->...i", self.upper, z)
        y = torch.einsum("...ij,...j->...i", self.lower, y) + self.shift
        return y, self._log_det().expand(y.shape[:-1])

    @override
    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        z = solve_triangular(self.lower, y - self.shift, upper=False, unitriangular=True)
        z = solve_triangular(self.upper, z, upper=True)
        return z, -self._log_det().expand(z.shape[:-1])

    def _log_det(self) -> Tensor:
        return self.upper.diagonal(dim1=-2, dim2=-1).log().sum(-1)


class LinearFlow(ParametricFlow):
    """Matrices P L U, affine in the context or global; they give a Gaussian full covariance.

    Args:
        features: D, the number of latent coordinates.
        context: C, the size of h; 0 makes the flow global.
        depth: number of layers.
        permutation: P, fixed: `identity`, with which the flow starts near the identity; `reverse`; or `random`, as in
            the paper, the same in every run.

    Raises:
        ValueError: for sizes below 1 or an unknown permutation.

    References:
        Glow: Generative Flow with Invertible 1x1 Convolutions, arXiv 1807.03039.
    """

    bijection: ClassVar[type[TriangularFactors]] = TriangularFactors
    steep: bool = True

    def __init__(self, features: int, context: int = 0, depth: int = 1, permutation: str = "identity") -> None:
        check_choice("permutation", permutation, ORDERS)
        super().__init__(features, context, depth)
        self.permutes = permutation != "identity"
        self.register_buffer("order", ORDERS[permutation](features), persistent=False)

    @staticmethod
    @override
    def shapes(features: int) -> Shapes:
        pairs = features * (features - 1) // 2
        return {"below": (pairs,), "above": (pairs,), "diagonal": (features,), "shift": (features,)}

    @override
    def make_layer(self, layer: int, own: dict[str, Any]) -> Bijection:
        factors = super().make_layer(layer, own)
        return Chain([factors, Permutation(self.get_buffer("order"))]) if self.permutes else factors


class PermutationFlow(Flow):
    """Fixed permutations of the coordinates, to stand between other layers, as parts of `chain`.

    Args:
        features: D, the number of latent coordinates.
        context: ignored: a permutation has no parameters.
        depth: number of permutations.
        permutation: `identity`, `reverse` or `random`, the same in every run.

    Raises:
        ValueError: for sizes below 1 or an unknown permutation.
    """

    order: Tensor

    def __init__(self, features: int, context: int = 0, depth: int = 1, permutation: str = "reverse") -> None:
        check_choice("permutation", permutation, ORDERS)
        super().__init__(features, context, depth)
        self.register_buffer("order", ORDERS[permutation](features), persistent=False)

    @override
    def given(self, h: Tensor | None) -> Given:
        return {}

    @override
    def build(self, given: Given) -> Chain:
        return Chain([Permutation(self.order)] * self.depth)
