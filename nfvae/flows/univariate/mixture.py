"""The logit of a mixture of sigmoids, from which two maps are made."""

import torch
from torch import Tensor
from torch.nn import functional

from nfvae.numerics import monotone_root

SMALLEST_SLOPE = 1e-3


class SigmoidMixture:
    """The map (1 - ε) logit(Σ w_k sigmoid(a_k z + b_k)) + ε z of each coordinate, with its slope and its inverse.

    The papers have ε = 0. Then the map is flat between distant modes, with slope e^{-distance}, and an inverse there is
    lost in rounding. ε = 1e-3 keeps the slope above a thousandth, at no cost for the inverse.

    - *Forward*: the logit is log c - log(1 - c) with c = Σ w_k sigmoid(u_k), 1 - c = Σ w_k sigmoid(-u_k) and
      u_k = a_k z + b_k; each a logsumexp, so that nothing is rounded away in the tails.
    - *Log-slope*: log((1 - ε) s + ε) with log s = log Σ w_k a_k sigmoid(u_k) sigmoid(-u_k) - log c - log(1 - c).
    - *Inverse*: the root lies between the smallest and the largest of the roots of (1 - ε) u_k + ε z = y.
    - *Constraint*: a > 0, Σ w = 1.

    Args:
        log_weight: log w with shape (*, K, D).
        log_slope: log a with shape (*, K, D).
        offset: b with shape (*, K, D).
    """

    def __init__(self, log_weight: Tensor, log_slope: Tensor, offset: Tensor) -> None:
        self.log_weight, self.log_slope, self.offset = log_weight, log_slope, offset
        self.slope = log_slope.exp()

    def forward_and_log_slope(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z with shape (*, D) to y and log dy/dz, both with shape (*, D)."""
        u = torch.addcmul(self.offset, self.slope, z.unsqueeze(-2))
        log_up = functional.logsigmoid(u)
        log_down = log_up - u
        weighted = self.log_weight + log_up
        log_c, log_rest = weighted.logsumexp(-2), (self.log_weight + log_down).logsumexp(-2)
        slope = ((weighted + self.log_slope + log_down).logsumexp(-2) - log_c - log_rest).exp()
        return torch.lerp(log_c - log_rest, z, SMALLEST_SLOPE), torch.log(SMALLEST_SLOPE + (1 - SMALLEST_SLOPE) * slope)

    def inverse_and_log_slope(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Map y with shape (*, D) to z and log dz/dy, both with shape (*, D), differentiably."""

        def excess(z: Tensor) -> tuple[Tensor, Tensor]:
            value, log_slope = self.forward_and_log_slope(z)
            return value - y, log_slope.exp()

        with torch.no_grad():
            alone = y.unsqueeze(-2) - (1 - SMALLEST_SLOPE) * self.offset
            alone = alone / (SMALLEST_SLOPE + (1 - SMALLEST_SLOPE) * self.slope)
        z = monotone_root(excess, alone.amin(-2), alone.amax(-2))
        return z, -self.forward_and_log_slope(z)[1]
