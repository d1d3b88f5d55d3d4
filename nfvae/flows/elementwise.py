"""A univariate map of each coordinate."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.flows.base import Flow, Given, Parameters
from nfvae.flows.bijection import Bijection, Chain
from nfvae.flows.univariate import Univariate
from nfvae.flows.univariate.maker import UnivariateMaker

_SCALE = 0.05  # initial scale of the numbers, of which a map has many


class Elementwise(Bijection):
    """Map every coordinate by its own univariate map, independent of other coordinates.

    - *Forward*: y_i = g_i(z_i).
    - *Log-determinant*: the sum of log g_i'.
    - *Inverse*: z_i = g_i⁻¹(y_i).
    - *Constraint*: that of the univariate map.

    Args:
        maps: maps of the D coordinates.
        shape: (*, D), where * is the batch shape of the maps.
    """

    def __init__(self, maps: Univariate, shape: Sequence[int]) -> None:
        super().__init__(shape)
        self.maps = maps

    @override
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        y, log_slope = self.maps.forward_and_log_slope(z)
        return y, log_slope.sum(-1)

    @override
    def pull_back(self, z: Tensor, y: Tensor, vector: Tensor) -> Tensor:
        (slope,) = torch.autograd.grad(y.sum(), z, retain_graph=True)
        return vector / slope

    @override
    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        z, log_slope = self.maps.inverse_and_log_slope(y)
        return z, log_slope.sum(-1)


class ElementwiseFlow(Flow):
    """Univariate maps of each coordinate, affine in the context or global; the coordinates stay independent.

    Args:
        features: D, the number of latent coordinates.
        context: C, the size of h; 0 makes the flow global.
        depth: number of layers.
        univariate: a name in `nfvae.flows.univariate.UNIVARIATES`, or "package.module:Class" of your own.
        univariate_options: further arguments of the map's class.

    Raises:
        ValueError: for sizes below 1, an unknown name or option, or a value that the map refuses.
    """

    def __init__(
        self,
        features: int,
        context: int = 0,
        depth: int = 1,
        univariate: str = "spline",
        univariate_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(features, context, depth)
        self.maps = UnivariateMaker(univariate, univariate_options)
        self.steep = self.maps.kind.steep
        self.head = Parameters({"values": (depth, self.maps.count, features)}, context, _SCALE)

    @override
    def given(self, h: Tensor | None) -> Given:
        given: Given = self.head(h)
        return given

    @override
    def build(self, given: Given) -> Chain:
        layers = given["values"].unbind(-3)
        return Chain([Elementwise(self.maps(values), values.select(-2, 0).shape) for values in layers])
