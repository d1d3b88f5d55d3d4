"""Coupling flows: some coordinates stay and determine how the others move."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.flows.bijection import Bijection
from nfvae.flows.conditioner import ConditionedFlow, Conditioner
from nfvae.networks import ConditionedMLP
from nfvae.registry import check_choice

_MASK_SEED = 20150706
MASKS = ("halves", "alternating", "random")


class Coupling(Bijection):
    """Map some coordinates by univariate maps whose parameters are computed from the others, which stay.

    - *Forward*: y_a = z_a, y_b = g(z_b), the maps g computed from z_a.
    - *Log-determinant*: the sum of log g'.
    - *Inverse*: z_a = y_a, z_b = g⁻¹(y_b), the maps g computed from y_a; also one pass.
    - *Constraint*: that of the univariate map.

    Args:
        conditioner: z_a with shape (*, A) -> the maps of z_b.
        kept: indices of a.
        moved: indices of b.
        back: index of each coordinate in a and b concatenated.
    """

    def __init__(self, conditioner: Conditioner, kept: Tensor, moved: Tensor, back: Tensor) -> None:
        super().__init__((*conditioner.batch_shape, len(back)))
        self.conditioner, self.kept, self.moved, self.back = conditioner, kept, moved, back

    @override
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = z.index_select(-1, self.kept), z.index_select(-1, self.moved)
        return self._joined(kept, *self.conditioner(kept).forward_and_log_slope(moved))

    @override
    def pull_back(self, z: Tensor, y: Tensor, vector: Tensor) -> Tensor:
        with torch.no_grad():
            kept, moved = z.index_select(-1, self.kept), z.index_select(-1, self.moved)
            slope = self.conditioner(kept).forward_and_log_slope(moved)[1].exp()
        pulled = vector.index_copy(-1, self.moved, vector.index_select(-1, self.moved) / slope)
        only_moved = pulled.index_fill(-1, self.kept, 0)
        (product,) = torch.autograd.grad(y, z, only_moved, retain_graph=True)
        return pulled - product.index_fill(-1, self.moved, 0)

    @override
    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = y.index_select(-1, self.kept), y.index_select(-1, self.moved)
        return self._joined(kept, *self.conditioner(kept).inverse_and_log_slope(moved))

    def _joined(self, kept: Tensor, moved: Tensor, log_slope: Tensor) -> tuple[Tensor, Tensor]:
        kept = kept.expand(*moved.shape[:-1], kept.shape[-1])
        return torch.cat([kept, moved], -1).index_select(-1, self.back), log_slope.sum(-1)


class CouplingFlow(ConditionedFlow):
    """A stack of couplings; kept and moved coordinates swap from layer to layer.

    A single coordinate moves in every layer.

    Args:
        features: D, the number of latent coordinates.
        context: C, the size of h; 0 makes the flow global.
        depth: number of layers.
        mask: which coordinates move: `halves`, the second or first half; `alternating`, every second one; `random`, a
            random half for each pair of layers, the same in every run.
        options: arguments of `ConditionedFlow`: `hidden`, `hidden_layers`, `activation`, `univariate_options`.

    Raises:
        ValueError: for sizes below 1, an unknown name or option, or a value that the map refuses.
    """

    def __init__(self, features: int, context: int = 0, depth: int = 1, mask: str = "halves", **options: Any) -> None:
        check_choice("mask", mask, MASKS)
        self.mask = mask
        super().__init__(features, context, depth, **options)

    @override
    def make_network(self, layer: int, hidden: Sequence[int], activation: str) -> ConditionedMLP:
        moves = _moves(self.mask, self.features, layer)
        kept, moved = (~moves).nonzero()[:, 0], moves.nonzero()[:, 0]
        for name, indices in (("kept", kept), ("moved", moved), ("back", torch.cat([kept, moved]).argsort())):
            self.register_buffer(f"{name}{layer}", indices, persistent=False)
        return ConditionedMLP(len(kept), self.maps.count * len(moved), hidden, activation)

    @override
    def make_layer(self, layer: int, conditioner: Conditioner) -> Bijection:
        return Coupling(conditioner, *(self.get_buffer(f"{name}{layer}") for name in ("kept", "moved", "back")))


def _moves(mask: str, features: int, layer: int) -> Tensor:
    """Return a mask of the moved coordinates."""
    if features == 1:
        return torch.ones(1, dtype=torch.bool, device="cpu")
    place = torch.arange(features, device="cpu")  # CPU even while a model is built without memory
    if mask == "random":
        generator = torch.Generator().manual_seed(_MASK_SEED + layer // 2)
        place = torch.randperm(features, generator=generator, device="cpu")
    odd = place % 2 == 1 if mask == "alternating" else place >= features // 2
    return odd if layer % 2 == 0 else ~odd


class UnivariateCoupling(CouplingFlow):
    """Couplings with any univariate map.

    Args:
        features: D, the number of latent coordinates.
        context: C, the size of h; 0 makes the flow global.
        depth: number of layers.
        univariate: a name in `nfvae.flows.univariate.UNIVARIATES`, or "package.module:Class" of your own.
        options: arguments of `CouplingFlow`: `mask`, `hidden`, `hidden_layers`, `activation`, `univariate_options`.

    Raises:
        ValueError: for sizes below 1, an unknown name or option, or a value that the map refuses.
    """

    def __init__(
        self, features: int, context: int = 0, depth: int = 1, univariate: str = "affine", **options: Any
    ) -> None:
        self.univariate = univariate
        super().__init__(features, context, depth, **options)


class NICE(CouplingFlow):
    """Non-linear independent components estimation: couplings that shift, and so preserve volume.

    References:
        NICE: Non-linear Independent Components Estimation, arXiv 1410.8516.
    """

    univariate: str = "shift"


class RealNVP(CouplingFlow):
    """Real-valued non-volume-preserving transformations: couplings that scale and shift.

    References:
        Density Estimation Using Real NVP, arXiv 1605.08803.
    """

    univariate: str = "affine"


class NSF(CouplingFlow):
    """Neural spline flow: couplings by rational-quadratic splines.

    References:
        Neural Spline Flows, arXiv 1906.04032.
    """

    univariate: str = "spline"
