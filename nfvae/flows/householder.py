"""The Householder flow: rotations made of reflections."""

from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.flows.base import ParametricFlow, Shapes
from nfvae.flows.bijection import Bijection

_SHORTEST = 1e-12


def unit_vector(v: Tensor) -> Tensor:
    """Divide v with shape (*, D) by its length; a vector shorter than 1e-12 becomes the first axis.

    So every reflection is exact. With an epsilon added to the length, the map near zero is no reflection: at
    |v|² = ε it is even singular.
    """
    length = torch.linalg.vector_norm(v, dim=-1, keepdim=True)
    short = length < _SHORTEST
    axis = torch.zeros_like(v)
    axis[..., 0] = 1
    return torch.where(short, axis, v / torch.where(short, 1.0, length))


class Householder(Bijection):
    """Reflect at the diagonal, then across v; together a rotation (section 3 of the reference).

    - *Forward*: y = H(v) H(a) z with H(v) = I - 2 v vᵀ and a = (1, ..., 1)/√D.
    - *Log-determinant*: 0.
    - *Inverse*: z = H(a) H(v) y.
    - *Constraint*: |v| = 1.

    The reference has H(v) alone, which is the identity for no v. Two reflections can start at the identity, and an
    even number of layers makes the same maps: H(v) H(a) H(w) H(a) = H(v) H(H(a) w).

    Args:
        v: unit vectors with shape (*, D).

    References:
        Improving Variational Auto-Encoders using Householder Flow, arXiv 1611.09630.
    """

    def __init__(self, v: Tensor) -> None:
        super().__init__(v.shape)
        self.v = v

    @staticmethod
    @override
    def constrain(offset: Tensor) -> dict[str, Tensor]:
        """Make the unit vector along a + offset; offsets with shape (*, D)."""
        return {"v": unit_vector(offset + offset.shape[-1] ** -0.5)}

    @override
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        y = _reflect(z - 2 * z.mean(-1, keepdim=True), self.v)
        return y, y.new_zeros(y.shape[:-1])

    @override
    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        z = _reflect(y, self.v)
        return z - 2 * z.mean(-1, keepdim=True), z.new_zeros(z.shape[:-1])


def _reflect(z: Tensor, v: Tensor) -> Tensor:
    return z - 2 * (z * v).sum(-1, keepdim=True) * v


class HouseholderFlow(ParametricFlow):
    """A stack of Householder rotations, which turns the Gaussian's axes; affine in the context or global."""

    bijection: ClassVar[type[Householder]] = Householder
    scale: ClassVar[float] = 0.02  # small beside 1/√D, the entries of a

    @staticmethod
    @override
    def shapes(features: int) -> Shapes:
        return {"offset": (features,)}
