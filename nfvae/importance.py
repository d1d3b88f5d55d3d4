"""Importance-sampled log-likelihood, streamed over samples, with what says how far to believe it."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from nfvae.numerics import log_mean_exp
from nfvae.vae import VAE, LogTerms

_SPAN = 10_000  # samples an image whose log-weights are summed up together; a multiple of every group of the K-curve
_PIECE = 100  # samples an image whose noise is drawn at once; a divisor of the span
_SMALLEST_TAIL = 5
_WORKERS = 8  # threads at a time; more would wait for Python's lock

_Spans = Iterator[tuple[LogTerms, Tensor]]
_Result = TypeVar("_Result")


class Estimate(NamedTuple):
    """What K samples say of each of B images; float64, shape (B,) unless told, in nats.

    Attributes:
        log_likelihood: log p̂(x) = log (1/K) Σ_k w_k, in expectation a lower bound of log p(x).
        elbo: mean log-weight.
        kl: mean of log q(z|x) - log p(z).
        standard_error: of `log_likelihood`, by the delta method; NaN where K = 1.
        ess: effective sample size (Σ w)²/Σ w², between 1 and K.
        khat: Pareto k̂ of the weights' tail (Vehtari et al., 2024); above 0.7 neither the estimate nor its standard
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
    """Estimate log p(x) by importance sampling from the posterior (Rezende et al., 2014; Burda et al., 2016).

    Exactly K samples an image. Encoder and flow conditioner run once an image; samples pass in blocks of at most `rows`
    rows, so that memory grows neither with K nor with B, into running float64 sums. The noise of an image depends
    on the seed and the image's index alone, for one kind of device: the estimate is the same, up to rounding, in any
    batch, in blocks of any size, on any number of devices. On a CPU several images are worked on at once.

    Args:
        model: a VAE in eval mode.
        x: binarized images with shape (B, P), of the model's type and on its device.
        samples: K.
        seed: of the noise.
        indices: index of each image in its data set, with shape (B,); by default 0 ... B-1.
        rows: samples times images that are decoded at once; by default 2,500 on a CPU, whose cache they then fit,
            and 100,000 elsewhere.

    Raises:
        ValueError: for samples or rows below 1.

    Example:
        >>> from nfvae import FlowVAE
        >>> model = FlowVAE(flow="planar", depth=2, pixels=64, hidden=[32]).model
        >>> log_likelihood(model, torch.zeros(5, 64), samples=100).ess.shape
        torch.Size([5])
    """
    parts = list(_parts(model, x, samples, seed, indices, rows))
    estimates = _map(partial(_estimate, samples), parts, x.device)
    return Estimate(*(torch.cat(values) for values in zip(*estimates, strict=True)))


@torch.inference_mode()
def log_weights(
    model: VAE, x: Tensor, samples: int, *, seed: int = 0, indices: Tensor | None = None, rows: int | None = None
) -> Tensor:
    """Return the very log-weights that `log_likelihood` sums, with shape (K, B); here memory grows with both."""
    return torch.cat(_map(_all_log_weights, list(_parts(model, x, samples, seed, indices, rows)), x.device), 1)


def image_noise(seed: int, index: int, like: Tensor) -> Iterator[Tensor]:
    """Yield the standard normal noise of one image without end, in pieces with shape (100, D).

    Pieces of one size come out of the generator the same whatever they are used for; one draw of another size would
    be another stream.

    Args:
        seed: of the whole evaluation.
        index: of the image in its data set.
        like: a tensor of the type and on the device asked for, its last dimension D.
    """
    source = random.Random(f"{seed} {index}")
    generator = torch.Generator(like.device).manual_seed(source.getrandbits(63))
    while True:
        yield torch.randn(_PIECE, like.shape[-1], generator=generator, dtype=like.dtype, device=like.device)


def _parts(
    model: VAE, x: Tensor, samples: int, seed: int, indices: Tensor | None, rows: int | None
) -> Iterator[_Spans]:
    """Cut a batch into the images that are encoded at once, as many as fill a block, and yield the `_spans` of each."""
    rows = rows if rows is not None else 2_500 if x.device.type == "cpu" else 100_000
    if samples < 1 or rows < 1:
        raise ValueError(f"samples and rows must be at least 1; got {samples} and {rows}")
    order = list(range(len(x))) if indices is None else indices.tolist()
    images = max(1, rows // min(samples, _SPAN))
    for first in range(0, len(x), images):
        part = slice(first, first + images)
        yield _spans(model, x[part], samples, seed, order[part], rows)


def _spans(model: VAE, x: Tensor, samples: int, seed: int, indices: list[int], rows: int) -> _Spans:
    """Yield the log-densities of up to 10,000 samples an image at a time, and the samples."""
    posterior = model.posterior(x)
    streams = [image_noise(seed, index, posterior.base.loc) for index in indices]
    for first in range(0, samples, _SPAN):
        count = min(_SPAN, samples - first)
        pieces = [torch.cat([next(stream) for _ in range(0, count, _PIECE)])[:count] for stream in streams]
        blocks = []
        for noise in torch.split(torch.stack(pieces, 1), max(1, rows // len(x))):
            z, log_q, log_det = posterior.from_noise(noise)
            blocks.append((*model.log_terms(x, z, log_q, log_det), z))
        *terms, z = (torch.cat(values) for values in zip(*blocks, strict=True))
        yield LogTerms(*terms), z


def _map(function: Callable[[_Spans], _Result], parts: Sequence[_Spans], device: torch.device) -> list[_Result]:
    """Call a function on each part; on a CPU by threads, as cores sharing each small operation would wait."""
    threads = torch.get_num_threads()
    workers = min(threads, len(parts), _WORKERS) if device.type == "cpu" else 1
    if workers <= 1:
        return [function(spans) for spans in parts]
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads // workers,)) as pool:
            return list(pool.map(function, parts))
    finally:
        torch.set_num_threads(threads)


@torch.inference_mode()  # which every thread has to enter for itself
def _estimate(samples: int, spans: _Spans) -> Estimate:
    running = _RunningSums(samples)
    for terms, z in spans:
        running.add(terms, z)
    return running.estimate()


@torch.inference_mode()
def _all_log_weights(spans: _Spans) -> Tensor:
    return torch.cat([terms.log_weight for terms, _ in spans])


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
            khat=pareto_khat(self.tail[0]) if self.tail_length >= _SMALLEST_TAIL else elbo * math.nan,
            k_curve=torch.stack(curve[-len(k_values(count)) :], -1),
            posterior_mean=mean,
            posterior_variance=(mean_square - mean.square()).clamp_min(0) * unbiased,
        )


def pareto_khat(tail: Tensor) -> Tensor:
    """Fit a generalized Pareto distribution to the largest weights and return its shape k̂ (Vehtari et al., 2024).

    The fit is that of Zhang & Stephens (2009), drawn weakly towards 1/2.

    Args:
        tail: the M + 1 largest log-weights of each image, in descending order, with shape (M + 1, B); the last is the
            threshold that the M others exceed.

    Returns:
        k̂ with shape (B,).
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


def _double(value: Tensor) -> Tensor:
    """Make float64, which Apple's devices lack, so on the CPU there."""
    return (value.cpu() if value.device.type == "mps" else value).double()
