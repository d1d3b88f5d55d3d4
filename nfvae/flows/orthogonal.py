"""Rotations of any angle, and invertible matrices as a rotation times a triangle."""

from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.flows.base import ParametricFlow, Shapes
from nfvae.flows.bijection import Bijection
from nfvae.numerics import shifted_softplus, solve_triangular


def rotation(angles: Tensor) -> Tensor:
    """Return the matrix exponential of a skew-symmetric matrix, a rotation with shape (*, D, D).

    Every rotation has this form.

    Args:
        angles: √D times the entries above the diagonal, row by row, with shape (*, D(D-1)/2); zeros give the identity.
    """
    features = round((1 + (1 + 8 * angles.shape[-1]) ** 0.5) / 2)
    rows, columns = torch.triu_indices(features, features, 1, device=angles.device)
    upper = angles.new_zeros(*angles.shape[:-1], features, features)
    upper[..., rows, columns] = angles / features**0.5
    matrix: Tensor = torch.linalg.matrix_exp(upper - upper.mT)
    return matrix


class Rotation(Bijection):
    """Rotate points.

    - *Forward*: y = Q z.
    - *Log-determinant*: 0.
    - *Inverse*: z = Qᵀ y.
    - *Constraint*: Q = exp(A), A skew-symmetric.

    Args:
        matrix: Q with shape (*, D, D).

    References:
        Cheap Orthogonal Constraints in Neural Networks, arXiv 1901.08428.
    """

    def __init__(self, matrix: Tensor) -> None:
        super().__init__(matrix.shape[:-1])
        self.matrix = matrix

    @staticmethod
    @override
    def constrain(angles: Tensor) -> dict[str, Tensor]:
        """Make Q; see `rotation`."""
        return {"matrix": rotation(angles)}

    @override
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.einsum("...ij,...j->...i", self.matrix, z)
        return y, y.new_zeros(y.shape[:-1])

    @override
    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        z = torch.einsum("...ji,...j->...i", self.matrix, y)
        return z, z.new_zeros(z.shape[:-1])


class RotatedTriangle(Bijection):
    """Multiply by a triangular matrix, rotate and shift (the QR decomposition of section 3.2 of the reference).

    - *Forward*: y = Q R z + t.
    - *Log-determinant*: the sum of the logarithms of R's diagonal.
    - *Inverse*: z = R⁻¹ Qᵀ (y - t), by substitution.
    - *Constraint*: Q = exp(A), A skew-symmetric, where the reference has reflections; R is upper triangular, its
      diagonal positive by `shifted_softplus`.

    Args:
        matrix: Q with shape (*, D, D).
        upper: R with shape (*, D, D).
        shift: t with shape (*, D).

    References:
        Emerging Convolutions for Generative Normalizing Flows, arXiv 1901.11137.
    """

    def __init__(self, matrix: Tensor, upper: Tensor, shift: Tensor) -> None:
        super().__init__(shift.shape)
        self.matrix, self.upper, self.shift = matrix, upper, shift

    @staticmethod
    @override
    def constrain(angles: Tensor, above: Tensor, diagonal: Tensor, shift: Tensor) -> dict[str, Tensor]:
        """Make Q and R.

        Args:
            angles: see `rotation`; shape (*, D(D-1)/2).
            above: √D times the entries of R above the diagonal, row by row, with shape (*, D(D-1)/2).
            diagonal: unconstrained, with shape (*, D); zeros give a unit diagonal.
            shift: t with shape (*, D).
        """
        features = diagonal.shape[-1]
        rows, columns = torch.triu_indices(features, features, 1, device=above.device)
        upper = torch.diag_embed(shifted_softplus(diagonal))
        upper[..., rows, columns] = above / features**0.5
        return {"matrix": rotation(angles), "upper": upper, "shift": shift}

    @override
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.einsum("...ij,...j->...i", self.upper, z)
        y = torch.einsum("...ij,...j->...i", self.matrix, y) + self.shift
        return y, self._log_det().expand(y.shape[:-1])

    @override
    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        z = solve_triangular(self.upper, torch.einsum("...ji,...j->...i", self.matrix, y - self.shift), upper=True)
        return z, -self._log_det().expand(z.shape[:-1])

    def _log_det(self) -> Tensor:
        return self.upper.diagonal(dim1=-2, dim2=-1).log().sum(-1)


class OrthogonalFlow(ParametricFlow):
    """Rotations, affine in the context or global, which turn the Gaussian's axes in any way."""

    bijection: ClassVar[type[Rotation]] = Rotation

    @staticmethod
    @override
    def shapes(features: int) -> Shapes:
        return {"angles": (features * (features - 1) // 2,)}


class QRFlow(ParametricFlow):
    """Invertible matrices as rotations times triangles, affine in the context or global."""

    bijection: ClassVar[type[RotatedTriangle]] = RotatedTriangle
    steep: bool = True

    @staticmethod
    @override
    def shapes(features: int) -> Shapes:
        pairs = features * (features - 1) // 2
        return {"angles": (pairs,), "above": (pairs,), "diagonal": (features,), "shift": (features,)}
