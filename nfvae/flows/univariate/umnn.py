"""The integral of a positive network: unconstrained monotonic neural networks."""

import math
from functools import cache

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.flows.univariate.base import Shapes
from nfvae.flows.univariate.tails import StraightTails
from nfvae.numerics import bounded
from nfvae.registry import check_number, check_sizes

_STEEPEST = 1.0  # |log a|: the units are smooth enough for the quadrature


class MonotonicNetwork(StraightTails):
    """The integral of a positive network of K hidden units in [-bound, bound], straight lines outside.

    - *Forward*: y = b + ∫_0^z g, by the quadrature of Clenshaw and Curtis.
    - *Log-slope*: log g(z) = Σ_k w_k tanh(a_k z + c_k) + o, exact but for the error of the quadrature, below 1e-10.
    - *Inverse*: by Newton's method in a bracket; first derivatives only.
    - *Constraint*: a = exp(tanh s), |w| < bound of the log-slope over K and |o| < that bound, each by a tanh.

    The reference has a positive last activation instead; with an exponential, zeros give the identity.

    Args:
        shift: b with shape (*, D).
        level: unconstrained o with shape (*, D).
        scores: s with shape (*, K, D).
        offsets: c with shape (*, K, D).
        weights: unconstrained w with shape (*, K, D).
        bound: half the interval's length.
        steepest: bound of Σ |w_k| and of |o|, positive.
        nodes: number of nodes of the quadrature.

    Raises:
        ValueError: for bounds that are not positive, or fewer than one node.

    References:
        Unconstrained Monotonic Neural Networks, arXiv 1908.05164.
    """

    def __init__(
        self,
        shift: Tensor,
        level: Tensor,
        scores: Tensor,
        offsets: Tensor,
        weights: Tensor,
        bound: float = 5.0,
        steepest: float = 2.0,
        nodes: int = 60,
    ) -> None:
        super().__init__(bound)
        check_number("steepest", steepest, above=0)
        check_sizes(nodes=nodes)
        self.shift, self.level, self.nodes = shift, bounded(level, steepest), nodes
        self.factors, self.offsets = bounded(scores, _STEEPEST).exp(), offsets
        self.weights = bounded(weights, steepest / weights.shape[-2])

    @staticmethod
    @override
    def shapes(units: int = 8) -> Shapes:
        return {"shift": (), "level": (), "scores": (units,), "offsets": (units,), "weights": (units,)}

    @override
    def inside(self, z: Tensor) -> tuple[Tensor, Tensor]:
        places, shares = (z.new_tensor(each)[:, None] for each in _clenshaw_curtis(self.nodes))
        log_slopes = self._log_slopes(places * z.unsqueeze(-2))
        return self.shift + z * (shares * log_slopes.exp()).sum(-2), log_slopes[..., -1, :]  # the last node is z

    def _log_slopes(self, z: Tensor) -> Tensor:
        """Return log g at points with shape (*, N, D)."""
        factors, offsets, weights = (each.unsqueeze(-3) for each in (self.factors, self.offsets, self.weights))
        units = torch.tanh(factors * z.unsqueeze(-2) + offsets)
        return self.level.unsqueeze(-2) + (weights * units).sum(-2)


@cache
def _clenshaw_curtis(count: int) -> tuple[list[float], list[float]]:
    """Return the nodes and weights of a quadrature over [0, 1] that is exact for polynomials of degree `count`."""
    angles = [math.pi * place / count for place in range(count + 1)]
    weights = []
    for place, angle in enumerate(angles):
        total = 1.0
        for term in range(1, count // 2 + 1):
            share = 1.0 if 2 * term == count else 2.0
            total -= share * math.cos(2 * term * angle) / (4 * term**2 - 1)
        weights.append(total / count * (0.5 if place in (0, count) else 1.0))
    return [(1 - math.cos(angle)) / 2 for angle in angles], weights
