"""Activation normalization: a scale and a shift of each coordinate."""

from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.flows.base import Given, ParametricFlow, Shapes
from nfvae.flows.bijection import Bijection
from nfvae.numerics import bounded, double
from nfvae.registry import check_choice

_SMALLEST_SCALE, _LARGEST_SCALE = 1e-4, 1e4
_LARGEST = 10.0  # |log scale|
STARTS = ("identity", "data")


class ScaleShift(Bijection):
    """Scale and shift every coordinate.

    - *Forward*: y = exp(s) z + t.
    - *Log-determinant*: the sum of s.
    - *Inverse*: z = (y - t) exp(-s).
    - *Constraint*: |s| < 10, by a tanh.

    Args:
        log_scale: s with shape (*, D).
        shift: t with shape (*, D).
    """

    def __init__(self, log_scale: Tensor, shift: Tensor) -> None:
        super().__init__(shift.shape)
        self.log_scale, self.shift = log_scale, shift

    @staticmethod
    @override
    def constrain(log_scale: Tensor, shift: Tensor) -> dict[str, Tensor]:
        """Bound the logarithm of the scale; both with shape (*, D)."""
        return {"log_scale": bounded(log_scale, _LARGEST), "shift": shift}

    @override
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.addcmul(self.shift, self.log_scale.exp(), z)
        return y, self.log_scale.sum(-1).expand(y.shape[:-1])

    @override
    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        z = (y - self.shift) * (-self.log_scale).exp()
        return z, -self.log_scale.sum(-1).expand(z.shape[:-1])


class ActNorm(ParametricFlow):
    """Scales and shifts, affine in the context or global.

    Args:
        features: D, the number of latent coordinates.
        context: C, the size of h; 0 makes the flow global.
        depth: number of layers.
        start: initial map, `identity` or, as in the paper, `data`: the first training batch sets scale and shift so
            that its image has mean 0 and variance 1, in the direction that is called first. A buffer records this, so
            a reloaded flow is not initialized again. In a posterior, `data` would whiten the mixture of the
            posteriors of all images; hence the default `identity`.

    Raises:
        ValueError: for sizes below 1 or an unknown start.

    References:
        Glow: Generative Flow with Invertible 1x1 Convolutions, arXiv 1807.03039.
    """

    bijection: ClassVar[type[ScaleShift]] = ScaleShift
    started: Tensor

    def __init__(self, features: int, context: int = 0, depth: int = 1, start: str = "identity") -> None:
        check_choice("start", start, STARTS)
        super().__init__(features, context, depth)
        self.starts = start == "data"
        self.register_buffer("started", torch.tensor(not self.starts))

    @staticmethod
    @override
    def shapes(features: int) -> Shapes:
        return {"log_scale": (features,), "shift": (features,)}

    @property
    def awaits_data(self) -> bool:
        """Whether the next points set scale and shift."""
        return self.starts and self.training and not self.started

    @override
    def given(self, h: Tensor | None) -> Given:
        if not self.awaits_data:
            return super().given(h)
        return {} if h is None else {"h": h}

    @override
    def build(self, given: Given) -> Bijection:
        return _FirstBatch(self, given.get("h")) if self.awaits_data else super().build(given)

    @torch.no_grad()
    def start(self, log_scale: Tensor, shift: Tensor) -> None:
        """Set scale and shift of the first layer, with shape (D,), for every context; later layers do nothing."""
        own = log_scale.new_zeros(2, self.depth, self.features)
        own[:, 0] = torch.stack([_LARGEST * (log_scale / _LARGEST).atanh(), shift])
        self.head.bias.copy_(own.flatten())
        if self.head.weight is not None:
            self.head.weight.zero_()
        self.started.fill_(True)


class _FirstBatch(Bijection):
    """A bijection whose first points initialize its flow."""

    def __init__(self, flow: ActNorm, h: Tensor | None) -> None:
        super().__init__((*(() if h is None else h.shape[:-1]), flow.features))
        self.flow, self.h = flow, h

    @override
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        if not self.flow.started:
            mean, scale = _clamped_moments(z)
            self.flow.start(-scale.log(), -mean / scale)
        return self.flow(self.h).forward_and_log_det(z)

    @override
    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        if not self.flow.started:
            mean, scale = _clamped_moments(y)
            self.flow.start(scale.log(), mean)
        return self.flow(self.h).inverse_and_log_det(y)


def _clamped_moments(points: Tensor) -> tuple[Tensor, Tensor]:
    mean, deviation = moments(points)
    return mean, deviation.clamp(_SMALLEST_SCALE, _LARGEST_SCALE)


@torch.no_grad()
def moments(points: Tensor) -> tuple[Tensor, Tensor]:
    """Return float64 mean and deviation of points with shape (*, D) over all processes; 1 point has deviation 1.

    Float64 and centering avoid cancellation in squares of data far from zero.
    """
    points = double(points.reshape(-1, points.shape[-1]))
    count = _over_processes(points.new_tensor([len(points)]))
    mean = _over_processes(points.sum(0)) / count
    variance = _over_processes((points - mean).square().sum(0)) / count
    return mean, variance.sqrt() if count > 1 else torch.ones_like(mean)


def _over_processes(sums: Tensor) -> Tensor:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(sums)
    return sums
