"""Whether a training can fit into memory, before any of it is taken."""

import math
import os
import warnings
from collections.abc import Callable

import torch
from torch import nn

_COPIES = 4  # of a weight: itself, its gradient, and two moments of the optimizer
_PASSES = 3  # tensors of the size of all decoded pixels that a step holds at the same time
_MOST_IMAGES = 1_000  # of a batch that are counted, as a data set may be smaller than its batches
_BYTES = 4


def check_memory(build: Callable[[], nn.Module], samples: int, batch_size: int, pixels: int) -> None:
    """Refuse a training whose least need of memory is more than the machine has.

    Args:
        build: makes the module; called without taking memory. What it refuses is no matter here.
        samples: K, posterior samples an image.
        batch_size: B.
        pixels: P.

    Raises:
        ValueError: for such a training.
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
    except Exception:  # building it for good says what is wrong
        return
    needed = _COPIES * sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if needed > machine:
        weights = sum(tensor.numel() for tensor in tensors)
        raise ValueError(
            f"the model has {weights:,} weights, which take {_size(needed)} of memory in training; "
            f"this machine has {_size(machine)}"
        )


def _memory() -> float:
    """Return the machine's memory in bytes; infinity where it does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return math.inf


def _size(count: float) -> str:
    return f"{count / 2**30:,.1f} GiB"
