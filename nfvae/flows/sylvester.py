"""The Sylvester flow."""

from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.flows.base import ParametricFlow, Shapes
from nfvae.flows.bijection import Bijection
from nfvae.flows.householder import unit_vector
from nfvae.numerics import shifted_softplus, solve_triangular, triangular_root
from nfvae.registry import check_choice, check_sizes

VARIANTS = ("orthogonal", "householder", "triangular")


class Frame(Protocol):
    """M orthonormal columns Q with shape (*, D, M), given by products with Q and Qᵀ.

    Attributes:
        features: D.
    """

    features: int

    def into(self, z: Tensor) -> Tensor:
        """Return Qᵀ z with shape (*, M) for z with shape (*, D)."""

    def out(self, s: Tensor) -> Tensor:
        """Return Q s with shape (*, D) for s with shape (*, M)."""


class Reflections:
    """The first M columns of a product of Householder reflections H_1 ... H_N = I - V T Vᵀ.

    T is the inverse of the upper triangle of VᵀV with halved diagonal: exact for unit vectors at any angles.

    Args:
        vectors: Vᵀ, unit vectors as rows, with shape (*, N, D).
        columns: number of columns, M.
    """

    def __init__(self, vectors: Tensor, columns: int) -> None:
        self.vectors, self.columns, self.features = vectors, columns, vectors.shape[-1]
        inner = vectors @ vectors.mT
        self.triangle = inner.triu(1) + torch.eye(inner.shape[-1], dtype=inner.dtype, device=inner.device) / 2

    def into(self, z: Tensor) -> Tensor:
        """Return Qᵀ z with shape (*, M) for z with shape (*, D)."""
        return self._product(z, self.triangle.mT, upper=False)[..., : self.columns]

    def out(self, s: Tensor) -> Tensor:
        """Return Q s with shape (*, D) for s with shape (*, M)."""
        padded = torch.nn.functional.pad(s, (0, self.features - self.columns))
        return self._product(padded, self.triangle, upper=True)

    def _product(self, z: Tensor, triangle: Tensor, upper: bool) -> Tensor:
        along = torch.einsum("...nd,...d->...n", self.vectors, z)
        along = solve_triangular(triangle, along, upper=upper)
        return z - torch.einsum("...nd,...n->...d", self.vectors, along)


class Axes:
    """The coordinate axes, in their order or reversed.

    Args:
        features: D.
        reverse: whether the last axis comes first.
    """

    def __init__(self, features: int, reverse: bool) -> None:
        self.features, self.reverse = features, reverse

    def into(self, z: Tensor) -> Tensor:
        """Return Qᵀ z with shape (*, D)."""
        return z.flip(-1) if self.reverse else z

    out = into


class Sylvester(Bijection):
    """Push along M orthonormal directions by a layer of M units (equation 13 of the reference).

    - *Forward*: y = z + Q R tanh(R̃ Qᵀ z + b).
    - *Log-determinant*: Σ log(1 + r_i r̃_i (1 - tanh²)), r and r̃ the diagonals, as all matrices are upper triangular.
    - *Inverse*: s = Qᵀ z solves s + R tanh(R̃ s + b) = Qᵀ y, a triangular system of increasing functions; then
      z = y - Q R tanh(R̃ s + b).
    - *Constraint*: r̃_i > 0 by `shifted_softplus`, and r_i r̃_i > -1 as r_i = (`shifted_softplus`(·) - 1)/r̃_i. A
      negative r̃_i would add nothing, since tanh is odd. The reference has tanh for both, which bounds the slope by 2.

    Zero parameters give the identity.

    Args:
        frame: Q, with M columns.
        outer: R, upper triangular with shape (*, M, M).
        inner: R̃, upper triangular with shape (*, M, M).
        bias: b with shape (*, M).
        slope: r r̃ > -1 with shape (*, M); passed in, since the product may be rounded.

    References:
        Sylvester Normalizing Flows for Variational Inference, arXiv 1803.05649.
    """

    def __init__(self, frame: Frame, outer: Tensor, inner: Tensor, bias: Tensor, slope: Tensor) -> None:
        super().__init__((*bias.shape[:-1], frame.features))
        self.frame, self.outer, self.inner, self.bias, self.slope = frame, outer, inner, bias, slope

    @staticmethod
    @override
    def constrain(above: Tensor, diagonal: Tensor, bias: Tensor, **frame: Tensor) -> dict[str, Tensor]:
        """Assemble R and R̃.

        Args:
            above: the entries of R and R̃ above their diagonals, with shape (*, 2, M(M-1)/2).
            diagonal: unconstrained slopes r r̃ and r̃, with shape (*, 2, M).
            bias: b with shape (*, M).
            frame: vectors of the reflections, if there are any, with shape (*, N, D).
        """
        slope = shifted_softplus(diagonal[..., 0, :]) - 1
        inner = shifted_softplus(diagonal[..., 1, :])
        size = bias.shape[-1]
        rows, columns = torch.triu_indices(size, size, 1, device=bias.device)
        matrices = torch.diag_embed(torch.stack([slope / inner, inner], -2))
        matrices[..., rows, columns] = above
        own = {"outer": matrices[..., 0, :, :], "inner": matrices[..., 1, :, :], "bias": bias, "slope": slope}
        return own | {name: unit_vector(vectors) for name, vectors in frame.items()}

    @override
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        push, log_det = self._push(self.frame.into(z))
        return z + self.frame.out(push), log_det

    @torch.no_grad()
    @override
    def pull_back(self, z: Tensor, y: Tensor, vector: Tensor) -> Tensor:
        steep = 1 - self._units(self.frame.into(z)).square()  # J = I + Q R diag(steep) R̃ Qᵀ
        along = _times(self.outer.mT, self.frame.into(vector))
        matrix = (self.inner @ self.outer).mT * steep.unsqueeze(-2)
        matrix = matrix + torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
        along = steep * solve_triangular(matrix, along, upper=False)
        return vector - self.frame.out(_times(self.inner.mT, along))

    @override
    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        target = self.frame.into(y)

        def excess(s: Tensor) -> tuple[Tensor, Tensor]:
            t = self._units(s)
            return s + _times(self.outer, t) - target, 1 + self.slope * (1 - t.square())

        def jacobian(s: Tensor) -> Tensor:
            steep = 1 - self._units(s).square()
            return torch.eye(s.shape[-1], dtype=s.dtype, device=s.device) + self.outer @ (
                steep.unsqueeze(-1) * self.inner
            )

        s = triangular_root(excess, jacobian, target, upper=True)
        push, log_det = self._push(s)
        return y - self.frame.out(push), -log_det

    def _units(self, s: Tensor) -> Tensor:
        return torch.tanh(_times(self.inner, s) + self.bias)

    def _push(self, s: Tensor) -> tuple[Tensor, Tensor]:
        t = self._units(s)
        return _times(self.outer, t), torch.log1p(self.slope * (1 - t.square())).sum(-1)


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return torch.einsum("...ij,...j->...i", matrix, vector)


class SylvesterFlow(ParametricFlow):
    """A stack of Sylvester layers, their parameters affine in the context or global.

    Args:
        features: D, the number of latent coordinates.
        context: C, the size of h; 0 makes the flow global.
        depth: number of layers.
        variant: form of Q: `orthogonal`, M columns of M reflections, hence any orthonormal frame, exact where the paper
            orthogonalizes iteratively; `householder`, a product of M reflections with all D columns; or `triangular`,
            the coordinate axes, reversed in every second layer.
        size: M, at most D; ignored by `triangular`.

    Raises:
        ValueError: for sizes below 1 or an unknown variant.

    References:
        Sylvester Normalizing Flows for Variational Inference, arXiv 1803.05649.
    """

    bijection: ClassVar[type[Sylvester]] = Sylvester
    scale: ClassVar[float] = 0.05

    def __init__(
        self, features: int, context: int = 0, depth: int = 1, variant: str = "orthogonal", size: int = 16
    ) -> None:
        check_choice("variant", variant, VARIANTS)
        check_sizes(size=size)
        self.variant, self.size = variant, min(size, features)
        super().__init__(features, context, depth)

    @override
    def shapes(self, features: int) -> Shapes:
        units = self.size if self.variant == "orthogonal" else features
        shapes = {"above": (2, units * (units - 1) // 2), "diagonal": (2, units), "bias": (units,)}
        return shapes if self.variant == "triangular" else shapes | {"vectors": (self.size, features)}

    @override
    def make_layer(self, layer: int, own: dict[str, Any]) -> Bijection:
        if self.variant == "triangular":
            return Sylvester(Axes(self.features, reverse=layer % 2 == 1), **own)
        vectors = own.pop("vectors")
        return Sylvester(Reflections(vectors, own["bias"].shape[-1]), **own)
