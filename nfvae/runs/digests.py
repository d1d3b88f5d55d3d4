"""Digests of nested content, which reveal damage and differences."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import torch

_MOST_PIECES = 1_000_000  # values in nested content
_DEEPEST = 100  # levels of nested content
_MOST_REPEATS = 100  # how often a tensor's memory may be read for one digest


def content_digest(content: Mapping[str, Any]) -> str:
    """Return a SHA-256 of nested settings, numbers and tensors, the same on every device.

    Raises:
        ValueError: if the content is nested too deeply, would take very long because parts of it are shared, or holds a
            sparse or quantized tensor.
    """
    digest = hashlib.sha256()
    for count, piece in enumerate(_pieces(content, Counter())):
        if count > _MOST_PIECES:
            raise ValueError(f"the content has more than {_MOST_PIECES:,} values")
        digest.update(piece)
    return digest.hexdigest()


def _pieces(value: Any, read: Counter[int], depth: int = 0) -> Iterator[bytes]:
    """Yield the bytes to digest; `read` counts the bytes read from each tensor's memory."""
    if depth > _DEEPEST:
        raise ValueError(f"the content is nested deeper than {_DEEPEST} levels")
    if isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            yield repr(key).encode()
            yield from _pieces(value[key], read, depth + 1)
    elif isinstance(value, list | tuple):
        yield f"[{len(value)}".encode()
        for each in value:
            yield from _pieces(each, read, depth + 1)
    elif isinstance(value, torch.Tensor):
        yield from _pieces_of_tensor(value, read)
    else:
        yield repr(value).encode()


def _pieces_of_tensor(value: torch.Tensor, read: Counter[int]) -> Iterator[bytes]:
    if value.layout != torch.strided or value.is_quantized or value.device.type == "meta":
        raise ValueError("the content has a sparse or quantized tensor, or one without numbers")
    memory = value.untyped_storage()
    read[memory.data_ptr()] += value.numel() * value.element_size()
    if read[memory.data_ptr()] > _MOST_REPEATS * memory.nbytes():
        raise ValueError(f"the content repeats a tensor more than {_MOST_REPEATS} times")
    plain = value.detach().cpu().contiguous()
    yield f"{plain.dtype} {[*plain.shape]}".encode()
    yield plain.reshape(-1).view(torch.uint8).numpy().tobytes()
