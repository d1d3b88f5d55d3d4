"""The radial flow."""

from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.flows.base import ParametricFlow, Shapes
from nfvae.flows.bijection import Bijection
from nfvae.numerics import shifted_softplus


class Radial(Bijection):
    """Expand or contract around a center c (equation 14 of the reference).

    - *Forward*: y = c + (α + β + r)/(α + r) (z - c), r = |z - c|, which is z + β/(α + r) (z - c).
    - *Log-determinant*: (D - 1) log((α + β + r)/(α + r)) + log((r² + 2αr + α(α + β))/(α + r)²).
    - *Inverse*: with ρ = |y - c|, r is the positive root of r² + (α + β - ρ) r - αρ = 0.
    - *Constraint*: α > 0 and α + β > 0, each √D times `shifted_softplus` of its parameter.

    The paper leaves the unit of α open; √D is the length of a standard normal vector, so that a layer reaches the
    latents from the start. Zero parameters give the identity. Nothing is written as 1 + β/..., which rounds to 0.

    Args:
        center: c, tensor with shape (*, D).
        alpha: α > 0 with shape (*).
        alpha_beta: α + β > 0 with shape (*).

    References:
        Variational Inference with Normalizing Flows, arXiv 1505.05770.
    """

    def __init__(self, center: Tensor, alpha: Tensor, alpha_beta: Tensor) -> None:
        super().__init__(center.shape)
        self.center, self.alpha, self.alpha_beta = center, alpha, alpha_beta

    @staticmethod
    @override
    def constrain(center: Tensor, alpha: Tensor, alpha_beta: Tensor) -> dict[str, Tensor]:
        """Make α and α + β positive; the center with shape (*, D), the others with shape (*)."""
        unit = center.shape[-1] ** 0.5
        positive = {"alpha": unit * shifted_softplus(alpha), "alpha_beta": unit * shifted_softplus(alpha_beta)}
        return {"center": center, **positive}

    @override
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        offset = z - self.center
        radius = torch.linalg.vector_norm(offset, dim=-1)
        stretch = (self.alpha_beta + radius) / (self.alpha + radius)
        return self.center + stretch.unsqueeze(-1) * offset, self._log_det(radius, z.shape[-1])

    @override
    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        offset = y - self.center
        rho = torch.linalg.vector_norm(offset, dim=-1)
        linear = self.alpha_beta - rho
        sum_of_roots = linear.abs() + torch.sqrt(linear.square() + 4 * self.alpha * rho)
        # the two forms of the positive root; each is free of cancellation on its side
        radius = torch.where(linear > 0, 2 * self.alpha * rho / sum_of_roots, sum_of_roots / 2)
        shrink = (self.alpha + radius) / (self.alpha_beta + radius)
        return self.center + shrink.unsqueeze(-1) * offset, -self._log_det(radius, y.shape[-1])

    def _log_det(self, radius: Tensor, features: int) -> Tensor:
        log_reach = torch.log(self.alpha + radius)
        across = torch.log(self.alpha_beta + radius) - log_reach
        along = torch.log(radius * (radius + 2 * self.alpha) + self.alpha * self.alpha_beta) - 2 * log_reach
        return (features - 1) * across + along


class RadialFlow(ParametricFlow):
    """A stack of radial layers, their parameters affine in the context or global."""

    bijection: ClassVar[type[Radial]] = Radial

    @staticmethod
    @override
    def shapes(features: int) -> Shapes:
        return {"center": (features,), "alpha": (), "alpha_beta": ()}
