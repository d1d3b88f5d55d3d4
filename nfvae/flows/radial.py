"""The radial flow (Rezende & Mohamed, 2015)."""

from typing import ClassVar

import torch
from torch import Tensor

from nfvae.bijections import Bijection
from nfvae.flows.base import ParametricFlow, Shapes
from nfvae.numerics import shifted_softplus


class Radial(Bijection):
    """Expand or contract around a centre c (Rezende & Mohamed, 2015, eq. 14).

    - *Forward*: y = z + β/(α + r) (z - c), r = |z - c|.
    - *Log-determinant*: (D - 1) log(1 + β/(α + r)) + log(1 + αβ/(α + r)²).
    - *Inverse*: with ρ = |y - c|, r is the positive root of r² + (α + β - ρ) r - αρ = 0.
    - *Constraint*: α > 0 and β > -α, by α = `shifted_softplus`(·) and β = α (`shifted_softplus`(·) - 1).

    The paper writes β = -α + softplus(·); taking β relative to α makes zero parameters the identity.

    Args:
        centre: c, tensor with shape (*, D).
        alpha: unconstrained tensor with shape (*).
        beta: unconstrained tensor with shape (*).
    """

    def __init__(self, centre: Tensor, alpha: Tensor, beta: Tensor) -> None:
        super().__init__()
        self.centre = centre
        self.alpha = shifted_softplus(alpha)
        self.beta = self.alpha * (shifted_softplus(beta) - 1)

    def forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        offset = z - self.centre
        radius = torch.linalg.vector_norm(offset, dim=-1)
        pull = self.beta / (self.alpha + radius)
        return z + pull.unsqueeze(-1) * offset, self._log_det(radius, pull, z.shape[-1])

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        offset = y - self.centre
        rho = torch.linalg.vector_norm(offset, dim=-1)
        linear = self.alpha + self.beta - rho
        sum_of_roots = linear.abs() + torch.sqrt(linear.square() + 4 * self.alpha * rho)
        # the two forms of the positive root; each is free of cancellation on its side
        radius = torch.where(linear > 0, 2 * self.alpha * rho / sum_of_roots, sum_of_roots / 2)
        pull = self.beta / (self.alpha + radius)
        z = self.centre + offset / (1 + pull).unsqueeze(-1)
        return z, -self._log_det(radius, pull, y.shape[-1])

    def _log_det(self, radius: Tensor, pull: Tensor, features: int) -> Tensor:
        along = torch.log1p(self.alpha * pull / (self.alpha + radius))
        return (features - 1) * torch.log1p(pull) + along


class RadialFlow(ParametricFlow):
    """A stack of radial layers, their parameters affine in the context or global (Rezende & Mohamed, 2015)."""

    bijection: ClassVar[type[Radial]] = Radial

    @staticmethod
    def shapes(features: int) -> Shapes:  # noqa: D102
        return {"centre": (features,), "alpha": (), "beta": ()}
