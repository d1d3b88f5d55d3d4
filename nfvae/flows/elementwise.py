"""A univariate map of each coordinate."""

from typing import Any

import torch
from torch import Tensor

from nfvae.flows.base import Flow, Parameters
from nfvae.flows.bijection import Bijection, Chain
from nfvae.flows.univariate import Univariate, UnivariateMaker

_SCALE = 0.05  # of the numbers at the start, of which a map has many


class Elementwise(Bijection):
    """Map every coordinate by a univariate map of its own, which no other coordinate touches.

    - *Forward*: y_i = g_i(z_i).
    - *Log-determinant*: the sum of log g_i'.
    - *Inverse*: z_i = g_i⁻¹(y_i).
    - *Constraint*: that of the univariate map.

    Args:
        maps: of the D coordinates.
    """

    def __init__(self, maps: Univariate) -> None:
        super().__init__()
        self.maps = maps

    def forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        y, log_slope = self.maps.forward_and_log_slope(z)
        return y, log_slope.sum(-1)

    def pull_back(self, z: Tensor, y: Tensor, vector: Tensor) -> Tensor:  # noqa: D102
        (slope,) = torch.autograd.grad(y.sum(), z, retain_graph=True)
        return vector / slope

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
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
        self.steep = self.maps.kind.steep  # type: ignore[misc]  # of this flow alone
        self.head = Parameters({"values": (depth, self.maps.count, features)}, context, _SCALE)

    def forward(self, h: Tensor | None = None) -> Chain:  # noqa: D102
        return Chain([Elementwise(self.maps(values)) for values in self.head(h)["values"].unbind(-3)])
