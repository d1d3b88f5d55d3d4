"""Posterior samples of a batch, streamed: their noise, blocks of them, and threads over images."""

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from nfvae.models import VAE, LogTerms
from nfvae.registry import check_number, check_sizes

SAMPLES_PER_CHUNK = 10_000  # of an image, whose log-densities are handed on together
_MOST_SAMPLES = 1_000_000_000  # of an image
_NOISE_BLOCK = 100  # samples of an image whose noise is drawn at once; a divisor of the chunk
_ROWS_ON_CPU, _ROWS_ELSEWHERE = 2_500, 100_000  # decoded at once; on a CPU its cache holds them
_MOST_THREADS = 8  # at a time; more would wait for Python's lock
_Result = TypeVar("_Result")


class Chunk(NamedTuple):
    """Some samples of some images.

    Attributes:
        terms: log-densities, each with shape (n, B).
        z: samples with shape (n, B, D).
    """

    terms: LogTerms
    z: Tensor


def image_noise(seed: int, index: int, like: Tensor) -> Iterator[Tensor]:
    """Yield the standard normal noise of one image without end, in blocks with shape (100, D).

    Blocks of one size come out of the generator the same whatever they are used for; a block of another size would be
    another stream.

    Args:
        seed: of the whole estimate.
        index: of the image in its data set.
        like: a tensor of the type and on the device asked for, its last dimension D.
    """
    source = random.Random(f"{seed} {index}")
    generator = torch.Generator(like.device).manual_seed(source.getrandbits(63))
    while True:
        yield torch.randn(_NOISE_BLOCK, like.shape[-1], generator=generator, dtype=like.dtype, device=like.device)


def streams(
    model: VAE, x: Tensor, samples: int, seed: int, indices: Tensor | None, rows: int | None
) -> list[Iterator[Chunk]]:
    """Stream the samples of a batch: a stream for as many images as fill a block, which are encoded at once.

    Args:
        model: the VAE.
        x: images with shape (B, P).
        samples: K, of each image.
        seed: of the noise.
        indices: index of each image in its data set, with shape (B,); by default 0 ... B-1.
        rows: samples times images that are decoded at once.

    Raises:
        ValueError: for samples or rows below 1, or images that the model does not take.
    """
    rows = rows if rows is not None else _ROWS_ON_CPU if x.device.type == "cpu" else _ROWS_ELSEWHERE
    check_number("samples", samples, least=1, most=_MOST_SAMPLES)
    check_sizes(rows=rows)
    x = model.as_images(x)
    order = list(range(len(x))) if indices is None else indices.tolist()
    count = max(1, rows // min(samples, SAMPLES_PER_CHUNK))
    images = [slice(first, first + count) for first in range(0, len(x), count)]
    return [_stream(model, x[some], samples, seed, order[some], rows) for some in images]


def _stream(model: VAE, x: Tensor, samples: int, seed: int, indices: list[int], rows: int) -> Iterator[Chunk]:
    posterior = model.posterior(x)
    noises = [image_noise(seed, index, posterior.base.loc) for index in indices]
    for first in range(0, samples, SAMPLES_PER_CHUNK):
        count = min(SAMPLES_PER_CHUNK, samples - first)
        blocks_of_noise = range(0, count, _NOISE_BLOCK)
        noise = torch.stack([torch.cat([next(stream) for _ in blocks_of_noise])[:count] for stream in noises], 1)
        blocks = []
        for block in torch.split(noise, max(1, rows // len(x))):
            draw = posterior.from_noise(block)
            blocks.append((*model.log_terms(x, draw), draw.z))
        *terms, z = (torch.cat(values) for values in zip(*blocks, strict=True))
        yield Chunk(LogTerms(*terms), z)


def map_streams(
    function: Callable[[Iterator[Chunk]], _Result], chunks: Sequence[Iterator[Chunk]], device: torch.device
) -> list[_Result]:
    """Call a function on each stream; on a CPU by threads, as cores sharing each small operation would wait."""
    threads = torch.get_num_threads()
    workers = min(threads, len(chunks), _MOST_THREADS) if device.type == "cpu" else 1
    if workers <= 1:
        return [function(stream) for stream in chunks]
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads // workers,)) as pool:
            return list(pool.map(function, chunks))
    finally:
        torch.set_num_threads(threads)
