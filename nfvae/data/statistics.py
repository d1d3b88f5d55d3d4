"""Mean and deviation of data, in float64 and piece by piece."""

from collections.abc import Iterator

import torch
from torch import Tensor

from nfvae.models import Statistics

_AT_ONCE = 2**22  # values copied at once, with 8 bytes each


def pieces(data: Tensor) -> Iterator[Tensor]:
    """Split data with shape (N, ...) into pieces whose copies in another dtype take little memory."""
    return iter(torch.split(data, max(1, _AT_ONCE // max(1, data[:1].numel()))))


def statistics_of(x: Tensor, observed: Tensor | None, scale: float, is_binary: bool) -> Statistics:
    """Return mean and deviation of the observed values of data with shape (N, P), divided by a scale.

    Args:
        x: the data; NaN is not observed.
        observed: which values are observed, with shape (N, P); None if all are.
        scale: factor by which values are divided.
        is_binary: whether the deviation is that of binary values of this mean.
    """
    mean = _mean(x, observed, torch.zeros(x.shape[1], dtype=torch.float64, device=x.device), 1) / scale
    if is_binary:
        return Statistics(mean.float(), (mean * (1 - mean)).sqrt().float())
    variance = _mean(x, observed, mean * scale, 2) / scale**2
    return Statistics(mean.float(), variance.sqrt().float())


def _mean(x: Tensor, observed: Tensor | None, center: Tensor, power: int) -> Tensor:
    """Return the mean over observed values of (x - center)^power, in float64; 0 where none is observed."""
    total, count = torch.zeros_like(center), torch.zeros_like(center)
    masks = [None] * len(list(pieces(x))) if observed is None else [*pieces(observed)]
    for piece, mask in zip(pieces(x), masks, strict=True):
        seen = ~piece.isnan() if mask is None else mask & ~piece.isnan()
        total += torch.where(seen, (piece.double() - center) ** power, 0).sum(0)
        count += seen.sum(0)
    return total / count.clamp_min(1)
