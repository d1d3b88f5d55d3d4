"""The lower-triangular affine flow: a Gaussian posterior with full covariance, the second baseline."""

from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.flows.base import ParametricFlow, Shapes
from nfvae.flows.bijection import Bijection
from nfvae.numerics import shifted_softplus, solve_triangular


class LowerTriangularAffine(Bijection):
    """Multiply by a lower-triangular matrix and shift.

    - *Forward*: y = L z + t.
    - *Log-determinant*: the sum of the logarithms of L's diagonal.
    - *Inverse*: z = L⁻¹ (y - t), by substitution.
    - *Constraint*: the diagonal of L is positive, by `shifted_softplus`.

    Args:
        matrix: L, with shape (*, D, D).
        shift: t, with shape (*, D).
    """

    def __init__(self, matrix: Tensor, shift: Tensor) -> None:
        super().__init__(shift.shape)
        self.matrix, self.shift = matrix, shift

    @staticmethod
    @override
    def constrain(below: Tensor, diagonal: Tensor, shift: Tensor) -> dict[str, Tensor]:
        """Assemble L.

        Args:
            below: the entries below the diagonal, row by row, with shape (*, D(D-1)/2).
            diagonal: unconstrained, with shape (*, D); zeros give a unit diagonal.
            shift: t, with shape (*, D).
        """
        features = diagonal.shape[-1]
        rows, columns = torch.tril_indices(features, features, -1, device=below.device)
        matrix = torch.diag_embed(shifted_softplus(diagonal))
        matrix[..., rows, columns] = below
        return {"matrix": matrix, "shift": shift}

    @override
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.einsum("...ij,...j->...i", self.matrix, z) + self.shift
        return y, self._log_det().expand(y.shape[:-1])

    @override
    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        z = solve_triangular(self.matrix, y - self.shift, upper=False)
        return z, -self._log_det().expand(z.shape[:-1])

    def _log_det(self) -> Tensor:
        return self.matrix.diagonal(dim1=-2, dim2=-1).log().sum(-1)


class CholeskyFlow(ParametricFlow):
    """Lower-triangular affine maps, affine in the context or global; one layer gives a full-covariance Gaussian."""

    bijection: ClassVar[type[LowerTriangularAffine]] = LowerTriangularAffine
    scale: ClassVar[float] = 0.02  # a row of L sums up to D of these

    @staticmethod
    @override
    def shapes(features: int) -> Shapes:
        return {"below": (features * (features - 1) // 2,), "diagonal": (features,), "shift": (features,)}
