"""The shape of the tail of importance weights, which says whether their mean can be believed."""

import math

import torch
from torch import Tensor

KHAT_LIMIT = 0.7
"""k̂ above which an importance-sampled estimate is not to be believed."""


def pareto_khat(tail: Tensor) -> Tensor:
    """Fit a generalized Pareto distribution to the largest weights and return its shape k̂.

    The fit is the one that Zhang and Stephens proposed, drawn weakly towards 1/2.

    Args:
        tail: the M + 1 largest log-weights of each image, in descending order, with shape (M + 1, B); the last is the
            threshold that the M others exceed.

    Returns:
        k̂ with shape (B,).

    References:
        Pareto Smoothed Importance Sampling, arXiv 1507.02646.
        Zhang and Stephens, A New and Efficient Estimation Method for the Generalized Pareto Distribution,
        Technometrics 51(3), 2009.
    """
    weights = (tail - tail[0]).exp().flip(0)
    excess = (weights[1:] - weights[0]).clamp_min(torch.finfo(weights.dtype).tiny)
    count = len(excess)
    size = 30 + math.isqrt(count)
    grid = 1 - torch.sqrt(size / (torch.arange(1, size + 1, dtype=weights.dtype, device=weights.device) - 0.5))
    rate = grid[:, None] / (3 * excess[int(count / 4 + 0.5) - 1]) + 1 / excess[-1]
    shape = torch.log1p(-rate[:, None] * excess).mean(1)
    log_posterior = count * (torch.log(-rate / shape) - shape - 1)
    best_rate = (rate * log_posterior.softmax(0)).sum(0)
    fitted = torch.log1p(-best_rate * excess).mean(0)
    return (count * fitted + 10 * 0.5) / (count + 10)
