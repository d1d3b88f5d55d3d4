"""Averages over images, as summaries hold them."""

import math
from typing import Any

import torch
from torch import Tensor

from nfvae.models import DataSpec

LIKELIHOOD_VALUES: dict[str, tuple[str, int | None]] = {
    "log_likelihood": ("log_likelihood", None),
    "elbo": ("elbo", None),
    "se": ("standard_error", None),
    "ess": ("ess", None),
}
"""Columns that every likelihood estimator has in the file of values."""
_ACTIVE_VARIANCE = 0.01  # variance of a latent's posterior mean over images, above which it is active


def is_active(mean: Tensor, variance: Tensor, samples: int) -> Tensor:
    """Return 1 for each active latent, 0 for the others, NaN if unknown; float64 with shape (D,).

    A latent is active if its posterior mean has a variance over images above 0.01, after subtracting the variance that
    Monte Carlo noise adds.

    Args:
        mean: mean of the samples of each image, with shape (N, D).
        variance: variance of the samples of each image, with shape (N, D).
        samples: samples per image.

    References:
        Importance Weighted Autoencoders, arXiv 1509.00519.
    """
    spread = mean.var(0) if len(mean) > 1 else torch.full_like(mean[0], math.nan)
    return above(spread - variance.mean(0) / samples, _ACTIVE_VARIANCE)


def above(values: Tensor, limit: float) -> Tensor:
    """Return 1 where a value is above the limit, 0 where it is not, NaN where it is NaN."""
    return torch.where(values.isnan(), values, (values > limit).double())


def error_of_mean(values: Tensor) -> Tensor:
    """Return the standard error of the mean over images; NaN for one image."""
    return values.std() / len(values) ** 0.5 if len(values) > 1 else values.new_tensor(math.nan)


def number(value: Tensor) -> float | int | None:
    """Round a number for a summary: six digits after the point, None for NaN."""
    rounded = round(value.item(), 6)
    if math.isnan(rounded):
        return None
    return int(rounded) if rounded.is_integer() else rounded


def bits_per_dim(nll: Tensor, spec: DataSpec) -> Tensor:
    """Return an NLL in nats per datum in bits per dimension, the numbers of x; NaN for real numbers.

    Example:
        >>> bits_per_dim(torch.tensor(784 * math.log(256)), DataSpec((28, 28), 256))  # as a uniform distribution has
        tensor(8.)
    """
    return nll / (spec.size * math.log(2)) if spec.levels else torch.full_like(nll, math.nan)


def likelihood_summary(estimate: Any, spec: DataSpec, drawn: int) -> dict[str, Any]:
    """Summarize the values that every likelihood estimator has.

    `elbo_se` and `nll_se` are standard errors over images, `nll_mc_se` that of the Monte Carlo sampling alone.

    Args:
        estimate: estimates of N images.
        spec: shape and levels of the data.
        drawn: samples of q per image from which the posterior mean was computed.
    """
    elbo, nll = estimate.elbo.mean(), -estimate.log_likelihood.mean()
    values = {
        "elbo": elbo,
        "elbo_se": error_of_mean(estimate.elbo),
        "nll": nll,
        "nll_se": error_of_mean(estimate.log_likelihood),
        "nll_mc_se": estimate.standard_error.square().mean().div(len(estimate.elbo)).sqrt(),
        "gap": -elbo - nll,
        "kl": estimate.kl.mean(),
        "bits_per_dim": bits_per_dim(nll, spec),
        "active_units": is_active(estimate.posterior_mean, estimate.posterior_variance, drawn).sum(),
        "ess_median": estimate.ess.quantile(0.5),
        "ess_p05": estimate.ess.quantile(0.05),
    }
    return {name: number(value) for name, value in values.items()}
