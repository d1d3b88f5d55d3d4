"""Importance-sampled log-likelihood, streamed over samples, with its diagnostics."""

import math
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from nfvae.estimators.pareto import pareto_khat
from nfvae.estimators.streaming import Chunk, map_streams, streams
from nfvae.models import VAE, LogTerms
from nfvae.numerics import log_mean_exp

_SHORTEST_TAIL = 5


class Estimate(NamedTuple):
    """What K samples say of each of B images; float64, shape (B,) unless told, in nats.

    Attributes:
        log_likelihood: log p̂(x) = log (1/K) Σ_k w_k, in expectation a lower bound of log p(x).
        elbo: mean log-weight.
        kl: mean of log q(z|x) - log p(z).
        standard_error: of `log_likelihood`, by the delta method; NaN where K = 1.
        ess: effective sample size (Σ w)²/Σ w², between 1 and K.
        khat: Pareto k̂ of the weights' tail; above 0.7 neither the estimate nor its standard
            error is to be believed. NaN where K < 25.
        k_curve: log-likelihood bound of k samples, averaged over groups of the same K weights, for each k of
            `k_values(K)`; shape (B, len(k_values(K))).
        posterior_mean: mean of z under q(z|x), with shape (B, D).
        posterior_variance: variance of z under q(z|x), with shape (B, D); NaN where K = 1.
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


def k_values(samples: int) -> list[int]:
    """Return the abscissas of the K-curve: 1, 10, 100 and 1000 as far as they are below K, then K."""
    return [k for k in (1, 10, 100, 1000) if k < samples] + [samples]


@torch.inference_mode()
def log_likelihood(
    model: VAE, x: Tensor, samples: int, *, seed: int = 0, indices: Tensor | None = None, rows: int | None = None
) -> Estimate:
    """Estimate log p(x) by importance sampling from the posterior.

    Exactly K samples an image. Encoder and flow conditioner run once an image; samples pass in blocks of at most `rows`
    rows, so that memory grows neither with K nor with B, into running float64 sums. The noise of an image depends
    on the seed and the image's index alone, for one kind of device: the estimate is the same, up to rounding, in any
    batch, in blocks of any size, on any number of devices. On a CPU several images are worked on at once.

    Args:
        model: a VAE in eval mode.
        x: binarized images with shape (B, P) or (B, height, width), on the model's device.
        samples: K.
        seed: of the noise.
        indices: index of each image in its data set, with shape (B,); by default 0 ... B-1.
        rows: samples times images that are decoded at once; by default 2,500 on a CPU, whose cache they then fit,
            and 100,000 elsewhere.

    Raises:
        ValueError: for samples or rows below 1, or images of another size or that are not binary.

    References:
        Stochastic Backpropagation and Approximate Inference in Deep Generative Models, arXiv 1401.4082.
        Importance Weighted Autoencoders, arXiv 1509.00519.

    Example:
        >>> from nfvae import make_vae
        >>> log_likelihood(make_vae("planar", depth=2, shape=[8, 8]), torch.zeros(5, 64), samples=100).ess.shape
        torch.Size([5])
    """
    chunks = streams(model, x, samples, seed, indices, rows)
    estimates = map_streams(partial(_estimate, samples), chunks, x.device)
    return Estimate(*(torch.cat(values) for values in zip(*estimates, strict=True)))


@torch.inference_mode()
def log_weights(
    model: VAE, x: Tensor, samples: int, *, seed: int = 0, indices: Tensor | None = None, rows: int | None = None
) -> Tensor:
    """Return the very log-weights that `log_likelihood` sums, with shape (K, B); here memory grows with both."""
    return torch.cat(map_streams(_all_log_weights, streams(model, x, samples, seed, indices, rows), x.device), 1)


@torch.inference_mode()  # which every thread has to enter for itself
def _estimate(samples: int, chunks: Iterator[Chunk]) -> Estimate:
    running = _RunningSums(samples)
    for terms, z in chunks:
        running.add(terms, z)
    return running.estimate()


@torch.inference_mode()
def _all_log_weights(chunks: Iterator[Chunk]) -> Tensor:
    return torch.cat([chunk.terms.log_weight for chunk in chunks])


class _RunningSums:
    """The sums of `Estimate` over the samples that have passed, in float64.

    Args:
        samples: K, how many samples will pass.
    """

    def __init__(self, samples: int) -> None:
        zero = torch.zeros((), dtype=torch.float64)
        self.samples = samples
        self.log_sum = self.log_square_sum = zero - math.inf
        self.groups = k_values(samples)[1:-1]
        self.sums: dict[str | int, Tensor] = dict.fromkeys(["log_weight", "kl", "z", "z_square", *self.groups], zero)
        self.tail_length = math.ceil(min(samples / 5, 3 * samples**0.5))
        self.tail: list[Tensor] = []

    def add(self, terms: LogTerms, z: Tensor) -> None:
        """Add n samples of each image: terms with shape (n, B) and z with shape (n, B, D)."""
        log_weight = _double(terms.log_weight)
        self.log_sum = torch.logaddexp(self.log_sum, log_weight.logsumexp(0))
        self.log_square_sum = torch.logaddexp(self.log_square_sum, (2 * log_weight).logsumexp(0))
        seen = torch.cat([*self.tail, log_weight])
        self.tail = [seen.topk(min(self.tail_length + 1, len(seen)), 0).values]
        self._add("log_weight", log_weight)
        self._add("kl", _double(terms.kl))
        self._add("z", _double(z))
        self._add("z_square", _double(z).square())
        for k in self.groups:
            whole = len(log_weight) // k
            self._add(k, log_mean_exp(log_weight[: whole * k].view(whole, k, log_weight.shape[1]), 1))

    def _add(self, name: str | int, values: Tensor) -> None:
        self.sums[name] = self.sums[name] + values.sum(0)

    def estimate(self) -> Estimate:
        """Finish, when all K samples have passed."""
        count = self.samples
        log_likelihood = self.log_sum - math.log(count)
        elbo, kl, mean, mean_square = (self.sums[name] / count for name in ("log_weight", "kl", "z", "z_square"))
        curve = [elbo, *(self.sums[k] / (count // k) for k in self.groups), log_likelihood]
        relative_variance = (count * (self.log_square_sum - 2 * self.log_sum).exp() - 1).clamp_min(0)
        unbiased = count / (count - 1) if count > 1 else math.nan
        return Estimate(
            log_likelihood=log_likelihood,
            elbo=elbo,
            kl=kl,
            standard_error=(relative_variance / count * unbiased).sqrt(),
            ess=(2 * self.log_sum - self.log_square_sum).exp(),
            khat=pareto_khat(self.tail[0]) if self.tail_length >= _SHORTEST_TAIL else elbo * math.nan,
            k_curve=torch.stack(curve[-len(k_values(count)) :], -1),
            posterior_mean=mean,
            posterior_variance=(mean_square - mean.square()).clamp_min(0) * unbiased,
        )


def _double(value: Tensor) -> Tensor:
    """Make float64, which Apple's devices lack, so on the CPU there."""
    return (value.cpu() if value.device.type == "mps" else value).double()
