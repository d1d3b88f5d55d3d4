"""Batch normalization as a layer of a flow."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.flows.actnorm import ScaleShift
from nfvae.flows.base import ParametricFlow, Shapes
from nfvae.flows.bijection import Bijection, Chain, Inverse
from nfvae.registry import check_choice, check_number

_SMALLEST_VARIANCE = 1e-5
DIRECTIONS = ("forward", "inverse")


class BatchNorm(ParametricFlow):
    """Batch normalization, then a scale and a shift that are affine in the context or global.

    In training mode, one direction divides by the moments of the batch, and the log-determinant is that of this
    division. Moving averages of the moments are buffers, which the other direction and evaluation mode use, so that
    there a datum does not depend on its neighbors.

    Args:
        features: D, the number of latent coordinates.
        context: C, the size of h; 0 makes scale and shift global.
        depth: number of layers.
        normalizes: the direction that divides by the moments of the batch in training: `inverse`, data to noise, as a
            density is trained, or `forward`, as a posterior is trained. A posterior whose moments are those of a batch
            mixes its images: there prefer `actnorm`.
        momentum: share of the new moments in the moving averages.

    Raises:
        ValueError: for sizes below 1, an unknown direction, or a momentum outside (0, 1].

    References:
        Density Estimation using Real NVP, arXiv 1605.08803, section 3.7.
    """

    bijection: ClassVar[type[ScaleShift]] = ScaleShift
    mean: Tensor
    variance: Tensor

    def __init__(
        self, features: int, context: int = 0, depth: int = 1, normalizes: str = "inverse", momentum: float = 0.1
    ) -> None:
        check_choice("normalizes", normalizes, DIRECTIONS)
        check_number("momentum", momentum, above=0, most=1)
        super().__init__(features, context, depth)
        self.normalizes, self.momentum = normalizes, momentum
        self.register_buffer("mean", torch.zeros(depth, features))
        self.register_buffer("variance", torch.ones(depth, features))

    @staticmethod
    @override
    def shapes(features: int) -> Shapes:
        return {"log_scale": (features,), "shift": (features,)}

    @override
    def make_layer(self, layer: int, own: dict[str, Any]) -> Bijection:
        scale = super().make_layer(layer, own)
        kind = _BatchMoments if self.training else Normalization
        normal = kind(self.mean[layer], self.variance[layer], self.momentum)
        return Chain([normal, scale]) if self.normalizes == "forward" else Chain([scale, Inverse(normal)])


class Normalization(Bijection):
    """Divide by moments.

    - *Forward*: y = (z - m)/√(v + ε).
    - *Log-determinant*: minus half the sum of log(v + ε).
    - *Inverse*: z = m + √(v + ε) y.
    - *Constraint*: ε = 1e-5.

    Args:
        mean: m with shape (D,).
        variance: v with shape (D,).
        momentum: share of new moments in moving averages.
    """

    def __init__(self, mean: Tensor, variance: Tensor, momentum: float) -> None:
        super().__init__(mean.shape)
        self.mean, self.variance, self.momentum = mean, variance, momentum

    @override
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return _normalized(z, self.mean, self.variance)

    @override
    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        variance = self.variance + _SMALLEST_VARIANCE
        return self.mean + variance.sqrt() * y, (variance.log().sum() / 2).expand(y.shape[:-1])


class _BatchMoments(Normalization):
    """Divide by the moments of the points, and move the averages."""

    @override
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        points = z.reshape(-1, z.shape[-1])
        if len(points) < 2:
            return super()._forward_and_log_det(z)
        variance, mean = torch.var_mean(points, 0, correction=0)
        with torch.no_grad():
            self.mean.lerp_(mean.to(self.mean), self.momentum)
            self.variance.lerp_(variance.to(self.variance), self.momentum)
        return _normalized(z, mean, variance)


def _normalized(z: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    variance = variance + _SMALLEST_VARIANCE
    return (z - mean) * variance.rsqrt(), (-variance.log().sum() / 2).expand(z.shape[:-1])
