"""Importance-sampled log-likelihood, streamed over samples, with its diagnostics."""

import math
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from nfvae.estimators.pareto import pareto_khat
from nfvae.estimators.streaming import Chunk, Images, image_blocks, map_blocks, stream, stream_prior
from nfvae.models import VAE, evaluating
from nfvae.numerics import double, log_mean_exp, network_precision
from nfvae.registry import check_choice

_SHORTEST_TAIL = 5
PROPOSALS: dict[str, tuple[float, ...]] = {"posterior": (1.0,), "mixture": (1.0, 1.3), "prior": ()}
"""Proposals by name: the posterior, with its noise scaled by these factors in turn; or p(z), to see why it fails.

All samples are weighted by the density of the mixture. A scale above 1 covers more of an exact posterior's heavy tails;
if q is already exact, it spoils the weights. Source: Veach and Guibas, Optimally Combining Sampling Techniques for
Monte Carlo Rendering, SIGGRAPH 1995.
"""


class Estimate(NamedTuple):
    """Estimates from K samples for each of B images; float64, shape (B,) unless noted, in nats.

    Attributes:
        log_likelihood: log p̂(x) = log (1/K) Σ_k w_k, in expectation a lower bound of log p(x).
        elbo: mean of log p(x, z) - log q(z|x) over samples of q.
        kl: mean of log q(z|x) - log p(z) over samples of q.
        standard_error: standard error of `log_likelihood`, by the delta method; NaN if K = 1.
        ess: effective sample size (Σ w)²/Σ w², between 1 and K.
        khat: Pareto k̂ of the weights' tail; above 0.7 neither the estimate nor its standard error is reliable. NaN if
            K < 25.
        k_curve: log-likelihood bound of k samples, averaged over groups of the same K weights, for each k of
            `k_values(K)`; shape (B, len(k_values(K))).
        posterior_mean: mean of z under q(z|x), with shape (B, D).
        posterior_variance: variance of z under q(z|x), with shape (B, D); NaN if K = 1.
    """

    log_likelihood: Tensor
    elbo: Tensor
    kl: Tensor
    standard_error: Tensor
    ess: Tensor
    khat: Tensor
    k_curve: Tensor
    posterior_mean: Tensor
    posterior_variance: Tensor


_OF_Q = ("elbo", "kl", "z", "z_square")  # sums over the samples of q itself


def tail_length(samples: int) -> int:
    """Return the number of largest weights to which Pareto k̂ is fitted."""
    length: int = math.ceil(min(samples / 5, 3 * samples**0.5))
    return length


def k_values(samples: int) -> list[int]:
    """Return the sample counts of the K-curve: those of 1, 10, 100 and 1000 that are below K, then K."""
    return [k for k in (1, 10, 100, 1000) if k < samples] + [samples]


def log_likelihood(
    model: VAE,
    x: Tensor,
    samples: int,
    *,
    proposal: str = "posterior",
    seed: int = 0,
    indices: Tensor | None = None,
    rows: int | None = None,
) -> Estimate:
    """Estimate log p(x) by importance sampling from the posterior.

    Memory grows with neither K nor B. The noise of an image depends on the seed, its index and the device, not on its
    batch.

    Args:
        model: a VAE, which is evaluated in eval mode.
        x: binarized images with shape (B, P) or (B, height, width), in a tensor, an array or a list.
        samples: number of importance samples K.
        proposal: `posterior`, the usual one; `mixture`, which scales the noise of every second sample by 1.3; or
            `prior`, p(z) itself, which hits the posterior of an image too rarely. It has no ELBO, KL or posterior mean.
        seed: random seed.
        indices: index of each image in its data set, with shape (B,); by default 0 ... B-1.
        rows: samples times images that are decoded at once; the default depends on the device.

    Raises:
        ValueError: for an unknown proposal, samples or rows below 1, or images of another size or that are not binary.

    References:
        Stochastic Backpropagation and Approximate Inference in Deep Generative Models, arXiv 1401.4082.
        Importance Weighted Autoencoders, arXiv 1509.00519.

    Example:
        >>> from nfvae import make_vae
        >>> log_likelihood(make_vae("planar", depth=2, shape=[8, 8]), torch.zeros(5, 64), samples=100).ess.shape
        torch.Size([5])
    """
    check_choice("proposal", proposal, PROPOSALS)
    blocks = image_blocks(model, x, samples, indices, rows)
    with evaluating(model):
        estimates = map_blocks(partial(_estimate, model, samples, seed, proposal), blocks, blocks[0].x.device)
        return Estimate(*(torch.cat(values) for values in zip(*estimates, strict=True)))


def log_weights(
    model: VAE,
    x: Tensor,
    samples: int,
    *,
    proposal: str = "posterior",
    seed: int = 0,
    indices: Tensor | None = None,
    rows: int | None = None,
) -> Tensor:
    """Return the log-weights that `log_likelihood` sums, with shape (K, B); here memory grows with K and B."""
    check_choice("proposal", proposal, PROPOSALS)
    blocks = image_blocks(model, x, samples, indices, rows)
    with evaluating(model):
        return torch.cat(
            map_blocks(partial(_log_weights, model, samples, seed, proposal), blocks, blocks[0].x.device), 1
        )


@torch.inference_mode()  # per thread; the results are joined outside of it, into ordinary tensors
def _estimate(model: VAE, samples: int, seed: int, proposal: str, images: Images) -> Estimate:
    running = _RunningSums(samples, len(PROPOSALS[proposal]))
    with network_precision(images.x.device):
        for chunk in _chunks(model, images, samples, seed, proposal):
            running.add(chunk)
    return running.estimate()


def _chunks(model: VAE, images: Images, samples: int, seed: int, proposal: str) -> Iterator[Chunk]:
    if proposal == "prior":
        return stream_prior(model, images, samples, seed)
    return stream(model, images, samples, seed, PROPOSALS[proposal])


@torch.inference_mode()
def _log_weights(model: VAE, samples: int, seed: int, proposal: str, images: Images) -> Tensor:
    with network_precision(images.x.device):
        return torch.cat([chunk.log_weight for chunk in _chunks(model, images, samples, seed, proposal)])


class _RunningSums:
    """Accumulate the sums of `Estimate` over chunks of samples, in float64.

    Args:
        samples: total number of samples K.
        turns: number of noise scales that are used in turn; the first one gives samples of q itself. With 0, none are.
    """

    def __init__(self, samples: int, turns: int = 1) -> None:
        zero = torch.zeros((), dtype=torch.float64)
        self.samples, self.turns = samples, turns
        self.log_sum = self.log_square_sum = zero - math.inf
        self.groups = k_values(samples)[1:-1]
        self.sums: dict[str | int, Tensor] = dict.fromkeys([*_OF_Q, *self.groups, 1], zero)
        self.tail_length = tail_length(samples)
        self.tail: list[Tensor] = []

    def add(self, chunk: Chunk) -> None:
        """Add n samples of each image."""
        log_weight = double(chunk.log_weight)
        self.log_sum = torch.logaddexp(self.log_sum, log_weight.logsumexp(0))
        self.log_square_sum = torch.logaddexp(self.log_square_sum, (2 * log_weight).logsumexp(0))
        seen = torch.cat([*self.tail, log_weight])
        self.tail = [seen.topk(min(self.tail_length + 1, len(seen)), 0).values]
        z = double(chunk.z)
        of_q = (double(chunk.terms.log_weight), double(chunk.terms.kl), z, z.square())
        for name, values in zip(_OF_Q, of_q, strict=True):
            self._add(name, values[:: self.turns] if self.turns else values[:1] * math.nan)
        for k in (1, *self.groups):
            whole = len(log_weight) // k
            self._add(k, log_mean_exp(log_weight[: whole * k].view(whole, k, log_weight.shape[1]), 1))

    def _add(self, name: str | int, values: Tensor) -> None:
        self.sums[name] = self.sums[name] + values.sum(0)

    def estimate(self) -> Estimate:
        """Return the estimate, after all K samples were added."""
        count = self.samples
        log_likelihood = self.log_sum - math.log(count)
        drawn = len(range(0, count, self.turns or count))  # samples of q
        elbo, kl, mean, mean_square = (self.sums[name] / drawn for name in _OF_Q)
        curve = [*(self.sums[k] / (count // k) for k in (1, *self.groups)), log_likelihood]
        relative_variance = (count * (self.log_square_sum - 2 * self.log_sum).exp() - 1).clamp_min(0)
        return Estimate(
            log_likelihood=log_likelihood,
            elbo=elbo,
            kl=kl,
            standard_error=(relative_variance / count * _unbiased(count)).sqrt(),
            ess=(2 * self.log_sum - self.log_square_sum).exp(),
            khat=pareto_khat(self.tail[0]) if self.tail_length >= _SHORTEST_TAIL else elbo * math.nan,
            k_curve=torch.stack(curve[-len(k_values(count)) :], -1),
            posterior_mean=mean,
            posterior_variance=(mean_square - mean.square()).clamp_min(0) * _unbiased(drawn),
        )


def _unbiased(count: int) -> float:
    return count / (count - 1) if count > 1 else math.nan
