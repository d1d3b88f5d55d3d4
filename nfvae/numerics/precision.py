"""Precision of floating-point computations."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def at_least_float32(value: Tensor) -> Tensor:
    """Convert 16-bit tensors to float32: sums over pixels and log-determinants need it."""
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def double(value: Tensor) -> Tensor:
    """Convert to float64; Apple devices lack it, so there on the CPU."""
    return (value.cpu() if value.device.type == "mps" else value).double()


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Switch automatic mixed precision off if it is on: in 16 bits a flow and its inverse disagree."""
    return torch.autocast(device.type, enabled=False) if torch.is_autocast_enabled(device.type) else nullcontext()


def network_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Run networks in bfloat16 if torch's matmul precision is `medium` and the device supports it, else in full.

    Densities stay at least float32, as in training with automatic mixed precision.
    """
    if torch.get_float32_matmul_precision() != "medium" or not _has_bfloat16(device):
        return full_precision(device)
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)  # cached inference casts have no gradient


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def mixed_type(device: torch.device) -> torch.dtype | None:
    """Return the 16-bit type of automatic mixed precision; None if it is off."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None


def in_precision(device: torch.device, mixed: torch.dtype | None) -> AbstractContextManager[Any]:
    """Restore automatic mixed precision with the type that `mixed_type` returned."""
    return nullcontext() if mixed is None else torch.autocast(device.type, mixed)
