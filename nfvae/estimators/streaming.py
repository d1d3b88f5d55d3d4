"""Common parts of the likelihood estimators: noise per image, blocks of images, and threads over blocks."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from numbers import Integral
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from nfvae.flows import DiagonalNormal, Draw, FlowDistribution, Mixture, check_exact
from nfvae.models import VAE, LogTerms
from nfvae.numerics import as_tensor
from nfvae.registry import check_number, check_sizes

SAMPLES_PER_CHUNK = 10_000  # samples of an image whose log-densities are yielded together
_MOST_SAMPLES = 1_000_000_000  # per image
_NOISE_BLOCK = 100  # samples of an image whose noise is drawn at once; a divisor of the chunk
_ROWS_ON_CPU, _ROWS_ELSEWHERE = 2_500, 100_000  # decoded at once; on a CPU they fit its cache
_MOST_THREADS = 8  # more would wait for Python's lock
_Block = TypeVar("_Block")
_Result = TypeVar("_Result")


class Chunk(NamedTuple):
    """Some samples of some images.

    Attributes:
        terms: log-densities, each with shape (n, B).
        z: samples with shape (n, B, D).
        excess: log r - log q with shape (n, B), where r is the density that the samples were drawn from.
    """

    terms: LogTerms
    z: Tensor
    excess: Tensor

    @property
    def log_weight(self) -> Tensor:
        """The log importance weight log p(x, z) - log r, with shape (n, B)."""
        return self.terms.log_weight - self.excess


def image_generator(seed: int, index: int, purpose: str, device: torch.device) -> torch.Generator:
    """Return the random generator of an image's noise, which depends only on these arguments.

    Args:
        seed: random seed of the whole estimate.
        index: index of the image in its data set.
        purpose: purpose of the noise; empty for the samples of the posterior.
        device: device on which the noise is drawn.
    """
    source = random.Random(f"{seed} {index} {purpose}".rstrip())
    return torch.Generator(device).manual_seed(source.getrandbits(63))


def image_noise(seed: int, index: int, like: Tensor) -> Iterator[Tensor]:
    """Yield the standard normal noise of one image endlessly, in blocks with shape (100, D).

    All blocks have the same size, because a generator's numbers depend on it.

    Args:
        seed: random seed of the whole estimate.
        index: index of the image in its data set.
        like: a tensor with the requested dtype and device, and with last dimension D.
    """
    generator = image_generator(seed, index, "", like.device)
    while True:
        yield torch.randn(_NOISE_BLOCK, like.shape[-1], generator=generator, dtype=like.dtype, device=like.device)


def posterior_noise(seed: int, indices: Sequence[int], like: Tensor, samples: int) -> Iterator[Tensor]:
    """Yield the noise of K posterior samples of some images, with shape (n, B, D) and n at most 10,000.

    Args:
        seed: random seed of the whole estimate.
        indices: index of each image in its data set.
        like: as for `image_noise`.
        samples: number of samples K.
    """
    noises = [image_noise(seed, index, like) for index in indices]
    for first in range(0, samples, SAMPLES_PER_CHUNK):
        count = min(SAMPLES_PER_CHUNK, samples - first)
        blocks = range(0, count, _NOISE_BLOCK)
        yield torch.stack([torch.cat([next(noise) for _ in blocks])[:count] for noise in noises], 1)


class Images(NamedTuple):
    """Some images that are processed together.

    Attributes:
        x: images with shape (B, P).
        indices: index of each image in its data set.
        rows: latent points decoded at once.
    """

    x: Tensor
    indices: list[int]
    rows: int


def image_blocks(
    model: VAE, x: Tensor, samples: int, indices: Tensor | None, rows: int | None, rows_on_cpu: int = _ROWS_ON_CPU
) -> list[Images]:
    """Split a batch into blocks, with as many images as fill the rows with their samples.

    Args:
        model: the VAE.
        x: images with shape (B, P).
        samples: number of samples per image.
        indices: index of each image in its data set, with shape (B,); by default 0 ... B-1.
        rows: samples times images that are decoded at once; the default depends on the device.
        rows_on_cpu: default number of rows on a CPU.

    Raises:
        ValueError: for samples or rows below 1, images that the model does not take, no images, a number of indices
            other than B, or a flow whose log-determinants are not exact.
    """
    check_exact("a likelihood", model)
    x = model.as_data(x)
    rows = rows if rows is not None else rows_on_cpu if x.device.type == "cpu" else _ROWS_ELSEWHERE
    check_samples(samples)
    check_sizes(rows=rows)
    order = places(x, indices)
    count = max(1, rows // min(samples, SAMPLES_PER_CHUNK))
    return [Images(x[first : first + count], order[first : first + count], rows) for first in range(0, len(x), count)]


def check_samples(samples: int) -> None:
    """Raise a ValueError unless the number of samples is a whole number in range."""
    if not isinstance(samples, Integral):
        raise ValueError(f"samples must be a whole number; got {samples!r}")
    check_number("samples", samples, least=1, most=_MOST_SAMPLES)


def places(x: Tensor, indices: Tensor | None) -> list[int]:
    """Return the index of each image in its data set.

    Raises:
        ValueError: for no images, or indices other than B whole numbers.
    """
    if not len(x):
        raise ValueError("expected one image at least; got none")
    if indices is None:
        return list(range(len(x)))
    indices = as_tensor("indices", indices)
    if indices.shape != x.shape[:1] or indices.is_floating_point() or indices.dtype == torch.bool:
        raise ValueError(
            f"indices take a whole number for each of {len(x)} images; got {tuple(indices.shape)} of {indices.dtype}"
        )
    found: list[int] = indices.tolist()
    return found


def stream(model: VAE, images: Images, samples: int, seed: int, scales: Sequence[float] = (1.0,)) -> Iterator[Chunk]:
    """Yield the posterior samples of some images, which are encoded together.

    Args:
        model: the VAE.
        images: some images.
        samples: number of samples K.
        seed: random seed.
        scales: factors of the noise, used in turn.
    """
    x, indices, rows = images
    posterior, prior = model.posterior(x), model.prior_of(x)
    for standard in posterior_noise(seed, indices, posterior.base.loc, samples):
        turns = standard.new_tensor(scales)[torch.arange(len(standard)) % len(scales)]
        noise = standard * turns[:, None, None]
        blocks = []
        for block in torch.split(noise, max(1, rows // len(x))):
            draw = posterior.from_noise(block)
            blocks.append((*model.log_terms(x, draw, prior), draw.z))
        *terms, z = (torch.cat(values) for values in zip(*blocks, strict=True))
        yield Chunk(LogTerms(*terms), z, _excess(noise, scales, samples))


def stream_prior(model: VAE, images: Images, samples: int, seed: int) -> Iterator[Chunk]:
    """Yield samples of p(z) in place of the posterior's, so that log weights are log p(x|z).

    Args:
        model: the VAE.
        images: some images.
        samples: number of samples K.
        seed: random seed.

    Raises:
        ValueError: for a prior that is no Gaussian, no flow of one, and no mixture of Gaussians.
    """
    x, indices, rows = images
    prior = model.prior_of(x)
    size = prior.event_shape[-1]
    like = x.new_empty(len(x), size)
    choices = [image_generator(seed, index, "prior", torch.device("cpu")) for index in indices]
    for noise in posterior_noise(seed, indices, like, samples):
        z = torch.stack(
            [_of_prior(prior, each, choice) for each, choice in zip(noise.unbind(1), choices, strict=True)], 1
        )
        blocks = []
        for block in torch.split(z, max(1, rows // len(x))):
            log_prior = prior.log_prob(block)
            blocks.append(model.log_terms(x, Draw(block, log_prior, torch.zeros_like(log_prior)), prior))
        terms = LogTerms(*(torch.cat(values) for values in zip(*blocks, strict=True)))
        yield Chunk(terms, z, torch.zeros_like(terms.prior))


def _of_prior(prior: Distribution, noise: Tensor, choice: torch.Generator) -> Tensor:
    """Turn noise with shape (n, D) into samples of a prior; a generator chooses the components of a mixture."""
    if isinstance(prior, Mixture) and isinstance(prior.component_distribution, DiagonalNormal):
        weights = prior.mixture_distribution.probs.cpu()
        chosen = torch.multinomial(weights, len(noise), replacement=True, generator=choice).to(noise.device)
        parts = prior.component_distribution
        return torch.addcmul(parts.loc[chosen], parts.scale[chosen], noise)
    if isinstance(prior, FlowDistribution) and not prior.batch_shape:
        return prior.from_noise(noise).z
    if isinstance(prior, DiagonalNormal) and not prior.batch_shape:
        return torch.addcmul(prior.loc, prior.scale, noise)
    raise ValueError(f"the proposal prior draws from no {type(prior).__name__}, and from no p(z|y)")


def _excess(noise: Tensor, scales: Sequence[float], samples: int) -> Tensor:
    """Return log r - log N(0, I) at noise with shape (*, D), where r mixes N(0, s² I) over the scales s.

    Each part of the mixture is weighted by its share of the K samples, so the weights stay unbiased although the parts
    are used in turn.
    """
    square, parts = noise.square().sum(-1) / 2, []
    if tuple(scales) == (1.0,):
        return torch.zeros_like(square)
    for place, scale in enumerate(scales[:samples]):
        share = len(range(place, samples, len(scales))) / samples
        parts.append(math.log(share) - noise.shape[-1] * math.log(scale) + square * (1 - scale**-2))
    return torch.stack(parts).logsumexp(0)


def map_blocks(function: Callable[[_Block], _Result], blocks: Sequence[_Block], device: torch.device) -> list[_Result]:
    """Call a function on each block; on a CPU in threads, since cores that share small operations would wait."""
    threads = torch.get_num_threads()
    workers = min(threads, len(blocks), _MOST_THREADS) if device.type == "cpu" else 1
    if workers <= 1:
        return [function(block) for block in blocks]
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads // workers,)) as pool:
            return list(pool.map(function, blocks))
    finally:
        torch.set_num_threads(threads)
