"""Supports of densities: a last map from the real line onto an interval, coordinate by coordinate."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from typing_extensions import override

from nfvae.flows.bijection import Bijection
from nfvae.registry import check_choice, check_number

SUPPORTS = ("real", "positive", "unit")


class Exponential(Bijection):
    """Map the real line onto the positive numbers.

    - *Forward*: y = exp(z).
    - *Log-determinant*: the sum of z.
    - *Inverse*: z = log(y).
    - *Constraint*: y > 0.
    """

    @override
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z.exp(), z.sum(-1)

    @override
    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        z = y.log()
        return z, -z.sum(-1)


class Interval(Bijection):
    """Map the real line onto an interval.

    - *Forward*: y = a + (b - a) sigmoid(z).
    - *Log-determinant*: the sum of log((b - a) sigmoid(z) sigmoid(-z)).
    - *Inverse*: z = log(y - a) - log(b - y).
    - *Constraint*: a < y < b.

    Args:
        features: D.
        low: a.
        high: b.
    """

    def __init__(self, features: int, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__((features,))
        self.low, self.high = low, high

    @override
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return torch.lerp(torch.full_like(z, self.low), torch.full_like(z, self.high), z.sigmoid()), self._log_det(z)

    @override
    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        z = (y - self.low).log() - (self.high - y).log()
        return z, -self._log_det(z)

    def _log_det(self, z: Tensor) -> Tensor:
        return (logsigmoid(z) + logsigmoid(-z) + math.log(self.high - self.low)).sum(-1)


def make_support(support: str | Sequence[float], features: int) -> Bijection | None:
    """Return the map from the real line onto a support; None for the real line.

    Args:
        support: `real`, `positive`, `unit` for (0, 1), or the two ends of an interval.
        features: D.

    Raises:
        ValueError: for an unknown name, or ends that are not increasing numbers.
    """
    if isinstance(support, str):
        check_choice("support", support, SUPPORTS)
        return {"real": None, "positive": Exponential((features,)), "unit": Interval(features)}[support]
    if not isinstance(support, list | tuple) or len(support) != 2:
        raise ValueError(f"support takes {', '.join(SUPPORTS)} or the ends of an interval, as [0, 5]; got {support!r}")
    low, high = (float(end) if isinstance(end, int) else end for end in support)
    check_number("the lower end of the support", low)
    check_number("the upper end of the support", high, above=low)
    return Interval(features, float(low), float(high))
