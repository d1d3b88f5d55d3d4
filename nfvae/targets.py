"""Unnormalized log-densities to fit flows to, by name. To add one, write a function and a line in `TARGETS`.

Each function takes points with shape (*, D) and returns log p̃ with shape (*), in nats, up to a constant.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from nfvae.registry import OWN, import_attribute, is_class_path, unknown

LogDensity = Callable[[Tensor], Tensor]
_WALL = 4.0  # |z_1| from which the energies U2, U3 and U4 rise
_WIDTH = 0.4


def U1(z: Tensor) -> Tensor:
    """Return minus the energy U₁ of arXiv 1505.05770, table 1: a ring whose two sides are heavier; D = 2."""
    radius, x = z.square().sum(-1).sqrt(), z[..., 0]
    return -(((radius - 2) / 0.4) ** 2) / 2 + torch.logaddexp(_bell(x - 2, 0.6), _bell(x + 2, 0.6))


def U2(z: Tensor) -> Tensor:
    """Return minus the energy U₂ of arXiv 1505.05770: a sine wave; D = 2.

    The paper's energy does not depend on the position along the wave, so that it has no finite normalizer. Here it
    rises from |z_1| = 4 on, as it does in U3 and U4.
    """
    return _bell(z[..., 1] - _wave(z), 0.4) + _wall(z)


def U3(z: Tensor) -> Tensor:
    """Return minus the energy U₃ of arXiv 1505.05770: a sine wave that splits and joins again; D = 2, see U2."""
    x, y = z[..., 0], z[..., 1] - _wave(z)
    return torch.logaddexp(_bell(y, 0.35), _bell(y + 3 * _bell(x - 1, 0.6).exp(), 0.35)) + _wall(z)


def U4(z: Tensor) -> Tensor:
    """Return minus the energy U₄ of arXiv 1505.05770: a sine wave that splits; D = 2, see U2."""
    x, y = z[..., 0], z[..., 1] - _wave(z)
    return torch.logaddexp(_bell(y, 0.4), _bell(y + 3 * torch.sigmoid((x - 1) / 0.3), 0.35)) + _wall(z)


def double_well(z: Tensor) -> Tensor:
    """Return a double well in the first coordinate, -(z_1⁴ - 6 z_1² - z_1/2)/4, and a Gaussian in the others."""
    x = z[..., 0]
    return -(x**4 - 6 * x.square() - 0.5 * x) / 4 - z[..., 1:].square().sum(-1) / 2


def banana(z: Tensor) -> Tensor:
    """Return a Gaussian bent along a parabola, N(z_1; 0, 2²) N(z_2; z_1²/4 - 1, 0.5²), normalized; D = 2.

    References:
        Haario, Saksman and Tamminen, An adaptive Metropolis algorithm, Bernoulli 7, 2001.
    """
    x, y = z[..., 0], z[..., 1]
    return _bell(x, 2.0) + _bell(y - (x.square() / 4 - 1), 0.5) - math.log(2 * math.pi)


def gaussian_mixture(z: Tensor) -> Tensor:
    """Return eight Gaussians on a circle of radius 3, normalized; D = 2."""
    angle = torch.arange(8, dtype=z.dtype, device=z.device) * (math.pi / 4)
    centers = 3 * torch.stack([angle.cos(), angle.sin()], 1)
    distance = (z.unsqueeze(-2) - centers).square().sum(-1) / (2 * 0.4**2)
    return (-distance).logsumexp(-1) - math.log(8 * 2 * math.pi * 0.4**2)


def _bell(x: Tensor, scale: float) -> Tensor:
    return -((x / scale) ** 2) / 2


def _wave(z: Tensor) -> Tensor:
    return torch.sin(2 * math.pi * z[..., 0] / 4)


def _wall(z: Tensor) -> Tensor:
    return _bell((z[..., 0].abs() - _WALL).clamp_min(0), _WIDTH)


TARGETS = {
    "u1": "nfvae.targets:U1",
    "u2": "nfvae.targets:U2",
    "u3": "nfvae.targets:U3",
    "u4": "nfvae.targets:U4",
    "double_well": "nfvae.targets:double_well",
    "banana": "nfvae.targets:banana",
    "gaussian_mixture": "nfvae.targets:gaussian_mixture",
}


def load_target(name: str) -> LogDensity:
    """Return a log-density by its name in `TARGETS`, or your own by "package.module:function".

    Raises:
        ValueError: for an unknown name, or a function that cannot be imported.
    """
    path = TARGETS.get(name, name) if isinstance(name, str) else name
    if not is_class_path(path):
        raise ValueError(unknown("target", name, [*TARGETS, OWN.replace("Class", "function")]))
    found: LogDensity = import_attribute("target", path)
    if not callable(found):
        raise ValueError(f"target {name!r} is no function of points")
    return found


def check_target(target: LogDensity, features: int) -> None:
    """Refuse a function that does not give one number per point, or whose gradient misses a coordinate.

    Raises:
        ValueError: for such a function.
    """
    z = torch.randn(50, 2, features, generator=torch.Generator().manual_seed(0)).requires_grad_()
    try:
        value = target(z)
    except Exception as error:  # anything that a user's function raises
        raise ValueError(f"the target fails for points of {features} coordinates: {error}") from error
    if not isinstance(value, Tensor) or value.shape != z.shape[:-1]:
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"the target should give a number for each point, shape {tuple(z.shape[:-1])}; got {got}")
    if count := int(value.isnan().sum()):
        raise ValueError(f"the target gives NaN at {count} of {value.numel()} points from N(0, I)")
    slopes = torch.autograd.grad(value.sum(), z)[0] if value.requires_grad else torch.zeros_like(z)
    if still := [str(place + 1) for place in range(features) if not slopes[..., place].any()]:
        raise ValueError(
            f"the target has no gradient in coordinate {', '.join(still)} of {features}: either it does not depend on "
            "it, and then has no finite normalizer, or it uses functions that torch cannot differentiate"
        )
