"""A check, before any memory is allocated, that a training can fit into memory."""

import math
import os
import warnings
from collections.abc import Callable

import torch
from torch import nn

_COPIES = 4  # per weight: itself, its gradient, and two moments of the optimizer
_PASSES = 3  # tensors of the size of all decoded pixels that a step holds at the same time
_MOST_IMAGES = 1_000  # images counted per batch, because a data set may be smaller than a batch
_BYTES = 4


def check_memory(build: Callable[[], nn.Module], samples: int, batch_size: int, pixels: int) -> None:
    """Refuse a training that needs, at the least, more memory than the machine has.

    Args:
        build: function that makes the module, called without allocating memory; its errors are ignored here.
        samples: K, posterior samples per image.
        batch_size: B, images per batch.
        pixels: P, pixels per image.

    Raises:
        ValueError: if the memory is too small.
    """
    machine = _memory()
    decoded = samples * min(batch_size, _MOST_IMAGES) * pixels * _BYTES * _PASSES
    if decoded > machine:
        raise ValueError(
            f"{samples:,} samples of batches of {batch_size:,} images take {_size(decoded)} of memory at least; "
            f"this machine has {_size(machine)}"
        )
    try:
        with warnings.catch_warnings(action="ignore"), torch.device("meta"), torch.random.fork_rng(devices=[]):
            tensors = [*(module := build()).parameters(), *module.buffers()]
    except Exception:  # the real build will raise the error
        return
    needed = _COPIES * sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if needed > machine:
        weights = sum(tensor.numel() for tensor in tensors)
        raise ValueError(
            f"the model has {weights:,} weights, which take {_size(needed)} of memory in training; "
            f"this machine has {_size(machine)}"
        )


def _memory() -> float:
    """Return the machine's memory in bytes; infinity if unknown."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return math.inf


def _size(count: float) -> str:
    return f"{count / 2**30:,.1f} GiB"
