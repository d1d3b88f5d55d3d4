"""Files of arrays: .npz, .npy and .pt."""

import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from torch import Tensor

from nfvae.data.pixels import as_tensor

ARRAY_ENDINGS = (".npz", ".npy", ".pt", ".pth")
_EXPECTED = "expected an .npz, .npy or .pt (or .pth)"


class Stored(NamedTuple):
    """An array in a file.

    Attributes:
        shape: shape of the array in the file's header.
        read: function that returns the array.
    """

    shape: tuple[int, ...]
    read: Callable[[], Tensor]


def open_arrays(path: Path) -> dict[str, Stored]:
    """Return the arrays of a file by name; a single unnamed array has the empty name."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}; {_EXPECTED}")
    if path.suffix.lower() not in ARRAY_ENDINGS:
        raise ValueError(f"cannot read {path}: {_EXPECTED}")
    if not (arrays := _arrays(path)):
        raise ValueError(f"{path} holds no array")
    return arrays


def _arrays(path: Path) -> dict[str, Stored]:
    with refusing(path):
        if path.suffix.lower() in (".pt", ".pth"):
            return _torch_arrays(path)
        content = np.load(path, mmap_mode="c", allow_pickle=False)
        if not isinstance(content, NpzFile):
            return {"": Stored(content.shape, partial(as_tensor, content, path))}
        return {name: Stored(_npz_shape(content, name), partial(_read_npz, content, name, path)) for name in content}


def _npz_shape(content: NpzFile, name: str) -> tuple[int, ...]:
    """Return the shape of an array without reading it."""
    assert content.zip is not None
    with content.zip.open(f"{name}.npy") as member:
        is_short = np.lib.format.read_magic(member) == (1, 0)
        header = np.lib.format.read_array_header_1_0 if is_short else np.lib.format.read_array_header_2_0
        return tuple(header(member)[0])


def _read_npz(content: NpzFile, name: str, path: Path) -> Tensor:
    with refusing(path):
        return as_tensor(content[name], name)


def _torch_arrays(path: Path) -> dict[str, Stored]:
    is_mapped = zipfile.is_zipfile(path)  # files of torch before 1.6 are not
    content: Any = torch.load(path, map_location="cpu", mmap=is_mapped, weights_only=True)
    named = content if isinstance(content, Mapping) else {"": content}
    tensors = {str(name): as_tensor(value, name or "its content") for name, value in named.items()}
    for name, tensor in tensors.items():
        is_plain = tensor.layout == torch.strided and tensor.device.type != "meta"
        if is_plain and tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise ValueError(f"{name or 'its content'} has shape {tuple(tensor.shape)}, but fewer numbers are stored")
    return {name: Stored(tuple(tensor.shape), partial(as_tensor, tensor, path)) for name, tensor in tensors.items()}


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turn any error of the readers into a one-line ValueError, without their own warnings and advice."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        if any(
            word in said for word in ("pickle", "weights_only", "Python objects")
        ):  # their advice is to load it unsafely
            said = "it is of another format, or holds more than numbers"
        raise ValueError(f"cannot read {path}: {said[:200]}; {_EXPECTED}") from error
