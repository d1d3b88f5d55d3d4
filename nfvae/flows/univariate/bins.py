"""The base of piecewise maps: an interval cut into bins, the identity outside."""

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from nfvae.flows.univariate.base import Univariate
from nfvae.registry import check_number

SMALLEST = 1e-3
"""Smallest share of the interval for a bin, and smallest slope."""
_MOST_BINS = 500


class Piecewise(Univariate):
    """A map of [-bound, bound] onto itself in pieces, the identity outside.

    Points outside are clamped before the pieces are evaluated, and restored after: no gradient of a piece is ever taken
    beyond its end, where it may overflow.

    Args:
        bins: K, the number of pieces.
        bound: half the interval's length.

    Raises:
        ValueError: for a bound that is not positive, or more than 500 bins.
    """

    def __init__(self, bins: int, bound: float) -> None:
        check_number("bound", bound, above=0)
        check_number("bins", bins, least=1, most=_MOST_BINS)
        self.bins, self.bound = bins, bound

    @abstractmethod
    def inside(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z with shape (*, D) in the interval to y and log dy/dz."""

    @abstractmethod
    def inverse_inside(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Map y with shape (*, D) in the interval to z and log dy/dz, at z."""

    @override
    def forward_and_log_slope(self, z: Tensor) -> tuple[Tensor, Tensor]:
        y, log_slope = self.inside(z.clamp(-self.bound, self.bound))
        within = z.abs() < self.bound
        return torch.where(within, y, z), torch.where(within, log_slope, 0.0)

    @override
    def inverse_and_log_slope(self, y: Tensor) -> tuple[Tensor, Tensor]:
        z, log_slope = self.inverse_inside(y.clamp(-self.bound, self.bound))
        within = y.abs() < self.bound
        return torch.where(within, z, y), torch.where(within, -log_slope, 0.0)

    def shares(self, scores: Tensor) -> Tensor:
        """Turn scores with shape (*, K, D) into positive shares that add up to the interval's length."""
        share = SMALLEST + (1 - SMALLEST * self.bins) * functional.softmax(scores, -2)
        return 2 * self.bound * share

    def left_edges(self, shares: Tensor) -> Tensor:
        """Return each bin's left edge, with the shape of the shares."""
        return functional.pad(shares[..., :-1, :].cumsum(-2), (0, 0, 1, 0)) - self.bound


def find(points: Tensor, left_edges: Tensor) -> Tensor:
    """Return the bin of each point, with shape (*, 1, D), for left edges with shape (*, K, D)."""
    return (points.unsqueeze(-2) >= left_edges[..., 1:, :]).sum(-2, keepdim=True)


def pick(bins: Tensor, *tables: Tensor) -> tuple[Tensor, ...]:
    """Look up bins with shape (*, 1, D) in tables with shape (*, K, D); each result has shape (*, D).

    The leading dimensions broadcast.
    """
    batch = torch.broadcast_shapes(bins.shape[:-2], tables[0].shape[:-2])  # type: ignore[no-untyped-call]
    bins = bins.expand(*batch, *bins.shape[-2:])
    return tuple(table.expand(*batch, *table.shape[-2:]).gather(-2, bins).squeeze(-2) for table in tables)
