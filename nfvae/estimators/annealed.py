"""Annealed importance sampling from the posterior: a tighter bound of log p(x) than plain importance sampling."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from nfvae.estimators.annealing import Path, Target, frozen, moves, run_chains, tune
from nfvae.estimators.streaming import Images, check_samples, image_blocks, map_blocks, posterior_noise
from nfvae.flows import Draw, FlowDistribution, check_exact
from nfvae.models import VAE, evaluating
from nfvae.numerics import double, log_mean_exp, network_precision
from nfvae.registry import check_number, check_sizes

BUDGETS = {"small": (4, 50), "default": (4, 200), "large": (4, 1000)}
"""Numbers of chains and temperatures; `default` was measured to take less time than 5,000 importance samples."""

_ROWS_ON_CPU = 800  # their gradients fit a CPU's cache
_ROWS_AT_ONCE = 10_000
_MOST_TEMPERATURES = 100_000


class AnnealedEstimate(NamedTuple):
    """Estimates from C chains for each of B images; float64, shape (B,) unless noted, in nats.

    Attributes:
        log_likelihood: log p̂(x) = log (1/C) Σ_c w_c, in expectation a lower bound of log p(x).
        elbo: mean of log p(x, z) - log q(z|x) at the starts of the chains, which are samples of q.
        kl: mean of log q(z|x) - log p(z) at the starts of the chains.
        standard_error: standard error of `log_likelihood`, by the delta method; NaN if C = 1.
        ess: effective sample size of the chains (Σ w)²/Σ w², between 1 and C.
        mean_log_weight: mean of log w_c, the bound of a single chain; more chains raise it to `log_likelihood`.
        spread: standard deviation of log w_c; NaN if C = 1.
        acceptance: mean acceptance rate of the moves between temperatures; NaN without moves.
        spreads: `spread` at ten points along the path, with shape (B, 10).
        acceptances: mean acceptance rate between each of those points and the one before, with shape (B, 10).
        betas: β at those points, with shape (B, 10).
        posterior_mean: mean of z at the starts, with shape (B, D).
        posterior_variance: variance of z at the starts, with shape (B, D); NaN if C = 1.
    """

    log_likelihood: Tensor
    elbo: Tensor
    kl: Tensor
    standard_error: Tensor
    ess: Tensor
    mean_log_weight: Tensor
    spread: Tensor
    acceptance: Tensor
    spreads: Tensor
    acceptances: Tensor
    betas: Tensor
    posterior_mean: Tensor
    posterior_variance: Tensor


def annealed_log_likelihood(
    model: VAE,
    x: Tensor,
    chains: int = 4,
    temperatures: int = 200,
    *,
    seed: int = 0,
    indices: Tensor | None = None,
    rows: int | None = None,
) -> AnnealedEstimate:
    """Estimate log p(x) by annealed importance sampling from the posterior, in the space of its noise.

    The weight of a chain from q to the exact posterior is unbiased for p(x). A short first round tunes the path, since
    chains that tune their own path are biased. The noise of an image depends only on the seed and the image's index.

    Args:
        model: a VAE, which is evaluated in eval mode.
        x: binarized images with shape (B, P) or (B, height, width), in a tensor, an array or a list.
        chains: number of chains C.
        temperatures: number of temperatures T.
        seed: random seed.
        indices: index of each image in its data set, with shape (B,); by default 0 ... B-1.
        rows: chains times images whose gradients are computed at once.

    Raises:
        ValueError: for numbers below 1, or images of another size or not binary.

    References:
        On the Quantitative Analysis of Decoder-Based Generative Models, arXiv 1611.04273.
        NeuTra-lizing Bad Geometry in Hamiltonian Monte Carlo Using Neural Transport, arXiv 1903.03704.

    Example:
        >>> from nfvae import make_vae
        >>> annealed_log_likelihood(make_vae("planar", depth=2, shape=[8, 8]), torch.zeros(5, 64), 2, 10).spread.shape
        torch.Size([5])
    """
    blocks = annealing_blocks(model, x, chains, temperatures, indices, rows)
    with evaluating(model), frozen(model):
        estimates = map_blocks(partial(_estimate, model, chains, temperatures, seed), blocks, blocks[0].x.device)
    return AnnealedEstimate(*(torch.cat(values) for values in zip(*estimates, strict=True)))


class Normalizer(NamedTuple):
    """An estimate of log Z, the log of the integral of an unnormalized density p̃; float64 numbers, in nats.

    Attributes:
        log_normalizer: log Ẑ, in expectation a lower bound of log Z.
        standard_error: its standard error, by the delta method; NaN for a single chain or sample.
        ess: effective sample size of the weights.
        mean_log_weight: mean of the log-weights, the bound of a single one.
        acceptance: mean acceptance rate of the moves between temperatures; NaN without moves.
    """

    log_normalizer: Tensor
    standard_error: Tensor
    ess: Tensor
    mean_log_weight: Tensor
    acceptance: Tensor


def anneal(
    log_density: Callable[[Tensor], Tensor],
    start: FlowDistribution,
    chains: int = 100,
    temperatures: int = 200,
    *,
    seed: int = 0,
) -> Normalizer:
    """Estimate the normalizer of any log-density by annealed importance sampling from a flow.

    Chains go from samples of `start` to the density, in the space of the flow's noise, as in
    `annealed_log_likelihood`.

    Args:
        log_density: points with shape (*, D) -> unnormalized log-density with shape (*), differentiable.
        start: density with batch shape () and a Gaussian base, such as a flow fitted to the log-density.
        chains: number of chains.
        temperatures: number of temperatures.
        seed: random seed.

    Raises:
        ValueError: for numbers below 1, or a `start` with a batch or another base.

    References:
        Neal, Annealed Importance Sampling, Statistics and Computing 11, 2001.

    Example:
        >>> from nfvae.flows import DiagonalNormal, FlowDistribution, Identity
        >>> start = FlowDistribution(DiagonalNormal(torch.zeros(2), torch.ones(2)), Identity((2,)))
        >>> found = anneal(lambda z: -(z - 1).square().sum(-1) / 2, start)  # log Z = log 2π = 1.838
        >>> abs(float(found.log_normalizer) - 1.838) < 0.02
        True
    """
    check_chains(chains, temperatures)
    check_exact("a normalizer", start.bijection)
    if start.batch_shape:
        raise ValueError(f"anneal starts from one density; got a batch of shape {tuple(start.batch_shape)}")

    def terms(draw: Draw) -> tuple[Tensor, Tensor]:
        log_weight = log_density(draw.z) - draw.log_prob
        return log_weight, log_weight * math.nan

    with torch.inference_mode(False), torch.no_grad():
        target = Target(start.expand([1]), terms, [0], _ROWS_ON_CPU)
        found = annealed_estimate(target, tune(target, temperatures, seed), chains, seed)
    values = (found.log_likelihood, found.standard_error, found.ess, found.mean_log_weight, found.acceptance)
    return Normalizer(*(value[0] for value in values))


def importance_normalizer(
    log_density: Callable[[Tensor], Tensor], start: FlowDistribution, samples: int = 10_000, *, seed: int = 0
) -> Normalizer:
    """Estimate the normalizer of any log-density by importance sampling from a density; see `anneal`.

    Args:
        log_density: points with shape (*, D) -> unnormalized log-density with shape (*).
        start: density to draw from, with batch shape ().
        samples: number of samples.
        seed: random seed.

    Raises:
        ValueError: for a number below 1.
    """
    check_samples(samples)
    check_exact("a normalizer", start.bijection)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        parts = [min(_ROWS_AT_ONCE, samples - first) for first in range(0, samples, _ROWS_AT_ONCE)]
        weights = []
        for count in parts:
            draw = start.draw((count,))
            weights.append(double(log_density(draw.z) - draw.log_prob))
        log_weights = torch.cat(weights)
    found = log_mean_exp(log_weights), standard_error(log_weights), effective_size(log_weights), log_weights.mean()
    return Normalizer(*found, torch.tensor(math.nan, dtype=torch.float64))


def check_chains(chains: int, temperatures: int) -> None:
    """Refuse numbers of chains or temperatures that are out of range.

    Raises:
        ValueError: if one is out of range.
    """
    check_sizes(chains=chains, temperatures=temperatures)
    check_number("temperatures", temperatures, most=_MOST_TEMPERATURES)


def annealing_blocks(
    model: VAE, x: Tensor, chains: int, temperatures: int, indices: Tensor | None, rows: int | None
) -> list[Images]:
    """Check the settings of chains, and split a batch into blocks of images: see `image_blocks`.

    Raises:
        ValueError: for settings out of range.
    """
    check_chains(chains, temperatures)
    return image_blocks(model, x, chains, indices, rows, _ROWS_ON_CPU)


def _estimate(model: VAE, chains: int, temperatures: int, seed: int, images: Images) -> AnnealedEstimate:
    with torch.inference_mode(False), torch.no_grad(), network_precision(images.x.device):
        target = Target.of_images(model, images)
        path = tune(target, temperatures, seed)
        return annealed_estimate(target, path, chains, seed)


def annealed_estimate(target: Target, path: Path, chains: int, seed: int) -> AnnealedEstimate:
    """Run chains from samples of q along a tuned path."""
    noise = torch.cat([*posterior_noise(seed, target.indices, target.like, chains)])
    trace = run_chains(target, noise, path, moves(target, chains, seed, "annealed"))
    z, log_weight, kl = map(double, target.at_start(noise))
    log_weights = trace.log_weights[-1]
    return AnnealedEstimate(
        log_likelihood=log_mean_exp(log_weights),
        elbo=log_weight.mean(0),
        kl=kl.mean(0),
        standard_error=standard_error(log_weights),
        ess=effective_size(log_weights),
        mean_log_weight=log_weights.mean(0),
        spread=_deviation(log_weights, 0),
        acceptance=trace.acceptances.nanmean(0),
        spreads=_deviation(trace.log_weights, 1).T,
        acceptances=trace.acceptances.T,
        betas=trace.betas.T,
        posterior_mean=z.mean(0),
        posterior_variance=_deviation(z, 0).square(),
    )


def standard_error(log_weights: Tensor) -> Tensor:
    """Return the standard error of `log_mean_exp` over C chains of log-weights with shape (C, B); NaN if C = 1.

    Delta method: the standard error of the mean weight, divided by the mean weight.
    """
    weights = (log_weights - log_mean_exp(log_weights)).exp()
    error: Tensor = _deviation(weights, 0) / len(log_weights) ** 0.5
    return error


def effective_size(log_weights: Tensor) -> Tensor:
    """Return the effective sample size (Σ w)²/Σ w² of log-weights with shape (C, B)."""
    return (2 * log_weights.logsumexp(0) - (2 * log_weights).logsumexp(0)).exp()


def _deviation(values: Tensor, dim: int) -> Tensor:
    """Return the standard deviation over a dimension; NaN for a single value."""
    if values.shape[dim] == 1:
        return torch.full_like(values.select(dim, 0), torch.nan)
    deviation: Tensor = values.std(dim)
    return deviation
