"""The planar flow."""

from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.flows.base import ParametricFlow, Shapes
from nfvae.flows.bijection import Bijection, Chain
from nfvae.numerics import monotone_root, shifted_softplus

_SMALLEST_SQUARE = 1e-12
_MANY = 8  # points per context from which matrix products are faster


class Planar(Bijection):
    """Push along û by a ridge across w (equation 10 of the reference).

    - *Forward*: y = z + û tanh(w·z + b).
    - *Log-determinant*: log(1 + (w·û)(1 - tanh²(w·z + b))).
    - *Inverse*: a = w·z solves a + (w·û) tanh(a + b) = w·y, increasing in a; then z = y - û tanh(a + b).
    - *Constraint*: û = u + (m(w·u) - w·u) w/|w|² with m(a) = `shifted_softplus`(a) - 1 > -1, hence w·û > -1.

    The paper's own m(a) = softplus(a) - 1 has m(0) = -0.31, which makes û large where u and w are small; here
    m(0) = 0, so that u = 0 is the identity.

    Args:
        u: û, tensor with shape (*, D).
        w: tensor with shape (*, D).
        b: tensor with shape (*).
        slope: w·û > -1 with shape (*); passed in, since the product of two long vectors may be rounded below -1.

    References:
        Variational Inference with Normalizing Flows, arXiv 1505.05770.
    """

    def __init__(self, u: Tensor, w: Tensor, b: Tensor, slope: Tensor) -> None:
        super().__init__(w.shape)
        self.u, self.w, self.b, self.slope = u, w, b, slope

    @staticmethod
    @override
    def constrain(u: Tensor, w: Tensor, b: Tensor) -> dict[str, Tensor]:
        """Move u along w until w·û > -1; u and w with shape (*, D), b with shape (*)."""
        w_u = (w * u).sum(-1)
        slope = shifted_softplus(w_u) - 1
        squared = w.square().sum(-1).clamp_min(_SMALLEST_SQUARE)
        return {"u": u + ((slope - w_u) / squared).unsqueeze(-1) * w, "w": w, "b": b, "slope": slope}

    @override
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        t = torch.tanh((self.w * z).sum(-1) + self.b)
        return torch.addcmul(z, self.u, t.unsqueeze(-1)), self._log_det(t)

    @torch.no_grad()
    @override
    def pull_back(self, z: Tensor, y: Tensor, vector: Tensor) -> Tensor:
        steep = 1 - torch.tanh((self.w * z).sum(-1) + self.b).square()  # J = I + steep û wᵀ
        along = steep * (self.u * vector).sum(-1) / (1 + self.slope * steep)
        return vector - along.unsqueeze(-1) * self.w

    @override
    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        w_y = (self.w * y).sum(-1)

        def excess(a: Tensor) -> tuple[Tensor, Tensor]:
            t = torch.tanh(a + self.b)
            return a + self.slope * t - w_y, 1 + self.slope * (1 - t.square())

        reach = self.slope.detach().abs()
        t = torch.tanh(monotone_root(excess, w_y.detach() - reach, w_y.detach() + reach) + self.b)
        return y - self.u * t.unsqueeze(-1), -self._log_det(t)

    def _log_det(self, t: Tensor) -> Tensor:
        return torch.log1p(self.slope * (1 - t.square()))


class PlanarChain(Chain):
    """Planar layers in sequence, applied to many points at once by two matrices instead of 2K vectors.

    - *Forward*: y = z + Σ_k û_k t_k, t_k = tanh(w_k·z + b_k + Σ_{j<k} (w_k·û_j) t_j), since layer j moves z along û_j.
    - *Log-determinant*: as `Planar`, summed over the layers.
    - *Inverse*: layer by layer.
    - *Constraint*: as `Planar`.
    """

    parts: tuple[Planar, ...]

    @override
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        first, depth = self.parts[0], len(self.parts)
        if type(first) is not Planar or depth > z.shape[-1] or z.numel() < _MANY * first.w.numel():
            return super()._forward_and_log_det(z)
        u = torch.stack([layer.u for layer in self.parts], -2)
        w = torch.stack([layer.w for layer in self.parts], -2)
        b = torch.stack([layer.b for layer in self.parts], -1)
        slope = torch.stack([layer.slope for layer in self.parts], -1)
        heights = torch.einsum("...d,...kd->...k", z, w) + b
        along = torch.einsum("...jd,...kd->...jk", u, w)
        steps: list[Tensor] = []
        for layer in range(depth):
            steps.append(torch.tanh(heights[..., :1]))
            heights = torch.addcmul(heights[..., 1:], along[..., layer, layer + 1 :], steps[-1])
        t = torch.cat(steps, -1)
        return z + torch.einsum("...k,...kd->...d", t, u), Planar(u, w, b, slope)._log_det(t).sum(-1)


class PlanarFlow(ParametricFlow):
    """A stack of planar layers, their parameters affine in the context or global."""

    bijection: ClassVar[type[Planar]] = Planar
    chain: ClassVar[type[Chain]] = PlanarChain

    @staticmethod
    @override
    def shapes(features: int) -> Shapes:
        return {"u": (features,), "w": (features,), "b": ()}
