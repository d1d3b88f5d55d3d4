"""The tail shape of importance weights, which shows whether their mean is reliable."""

import math

import torch
from torch import Tensor

KHAT_LIMIT = 0.7
"""k̂ above which an importance-sampled estimate is not reliable."""

_PRIOR, _PRIOR_WEIGHT = 0.5, 10  # value that k̂ is shrunk towards, and its weight in samples
_FEWEST = 5  # weights above the threshold for a fit
_ROUNDING = 1e-3  # nats by which equal weights may differ, being sums of float32


def pareto_khat(tail: Tensor) -> Tensor:
    """Fit a generalized Pareto distribution to the largest weights and return its shape k̂.

    The fit is that of Zhang and Stephens, shrunk weakly towards 1/2. Weights equal to the threshold are left out, as in
    the reference implementation.

    Args:
        tail: the M + 1 largest log-weights of each image, in descending order, with shape (M + 1, B); the last is the
            threshold that the M others exceed.

    Returns:
        k̂ with shape (B,). It is 0 if all these weights are equal up to rounding, so that there is no tail. It is
        infinite if fewer than five weights exceed the threshold, since they may dominate the mean.

    References:
        Pareto Smoothed Importance Sampling, arXiv 1507.02646.
        Zhang and Stephens, A New and Efficient Estimation Method for the Generalized Pareto Distribution,
        Technometrics 51(3), 2009.
    """
    weights = (tail - tail[0]).exp()
    excess = weights[:-1] - weights[-1]
    counts = (excess > 0).sum(0)
    constant = tail[0] - tail[-1] <= _ROUNDING
    khat = torch.full_like(tail[0], math.inf)
    khat[constant], khat[tail.isnan().any(0)] = 0, math.nan
    for count in set(counts[~constant].tolist()):
        if count >= _FEWEST:
            alike = ~constant & (counts == count)
            khat[alike] = _fit(excess[:count, alike].flip(0))
    return khat


def _fit(excess: Tensor) -> Tensor:
    """Return k̂ for the excess of M weights over the threshold, in ascending order, with shape (M, B)."""
    count = len(excess)
    size = 30 + math.isqrt(count)
    grid = 1 - torch.sqrt(size / (torch.arange(1, size + 1, dtype=excess.dtype, device=excess.device) - 0.5))
    rate = grid[:, None] / (3 * excess[int(count / 4 + 0.5) - 1]) + 1 / excess[-1]
    shape = torch.log1p(-rate[:, None] * excess).mean(1)
    scale = torch.where(rate == 0, 1 / excess.mean(0), -rate / shape)  # its limit where the rate vanishes
    log_posterior = count * (torch.log(scale) - shape - 1)
    best_rate = (rate * log_posterior.softmax(0)).sum(0)
    fitted = torch.log1p(-best_rate * excess).mean(0)
    return (count * fitted + _PRIOR_WEIGHT * _PRIOR) / (count + _PRIOR_WEIGHT)
