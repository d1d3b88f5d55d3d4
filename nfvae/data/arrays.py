"""Your own images in one file of arrays."""

import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor
from typing_extensions import override

from nfvae.data.batches import SPLITS, Splits
from nfvae.data.binarize import above_half, fixed_draw
from nfvae.data.datasets import ImageDataset
from nfvae.data.gray import as_gray, as_tensor, gray_shape
from nfvae.data.parts import check_shares, complete, drawn_splits, find_parts, is_label_of_part
from nfvae.registry import check_seed

_ENDINGS = (".npz", ".npy", ".pt", ".pth")
_EXPECTED = "expected an .npz, .npy or .pt (or .pth)"


class Arrays(ImageDataset):
    """Read images from a file of arrays: .npz, .npy, or .pt with a tensor or named tensors.

    The arrays `train`, `val` and `test` are the parts. Their names may also be `valid` or `validation`, in capitals, or
    like `x_train` or `train_images`; arrays of labels are left out. A missing validation part is drawn from the
    training part; a single array is split into all parts.

    Args:
        split: shares of the training, validation and test parts, if they are drawn.
        split_seed: random seed of the split.

    Raises:
        ValueError: for shares that do not add up to 1.
    """

    is_root = True

    def __init__(self, split: Sequence[float] = (0.8, 0.1, 0.1), split_seed: int = 0) -> None:
        check_shares(split)
        check_seed("split_seed", split_seed)
        self.split, self.split_seed = split, split_seed

    @override
    def find_shape(self, root: Path) -> tuple[int, ...]:
        """Return height and width of an image; for .npz and .npy files only the headers are read."""
        stored, _ = self._stored(root)
        return _sides({source: array.shape for source, array in stored.items()})

    @override
    def read(self, root: Path, download: bool) -> Splits:
        """Read the file that is the data root."""
        stored, parts = self._stored(root)
        gray = as_gray({source: array.read() for source, array in stored.items()})
        if not parts:
            return drawn_splits(gray[0].flatten(1), self.split, self.split_seed, root)
        named = {part: images.flatten(1) for part, images in zip(parts, gray, strict=True)}
        return complete(named, self.split, self.split_seed, root)

    def _stored(self, path: Path) -> tuple[dict[str, "_Stored"], list[str]]:
        """Return the arrays by their source, and the names of their parts; no names for a single array."""
        arrays = _open(path)
        if len(arrays) == 1:
            return {f"{name} of {path}" if name else str(path): array for name, array in arrays.items()}, []
        parts = find_parts([name for name in arrays if not is_label_of_part(name)], path)
        if not parts:
            held = ", ".join(arrays) or "nothing"
            raise ValueError(f"{path} should hold train, val and test, or one array; got {held}")
        return {f"{name} of {path}": arrays[name] for name in parts.values()}, list(parts)


def read_images(path: Path, binarization: str = "dynamic") -> Tensor:
    """Read a file with one array as binary images, uint8 with shape (N, height, width).

    Gray pixels are binarized like those of a test set: drawn once, or by the threshold.

    Args:
        path: the file.
        binarization: a name in `nfvae.data.images.BINARIZATIONS`.

    Raises:
        ValueError: for a file that is missing or damaged, or holds something else.
    """
    arrays = _open(path)
    if len(arrays) != 1:
        raise ValueError(f"{path} should hold one array; got {', '.join(arrays) or 'nothing'}")
    (gray,) = as_gray({str(path): array.read() for array in arrays.values()})
    is_threshold = binarization == "threshold"
    if bool(((gray > 0) & (gray < 255)).any()):
        how = "1 above 127, else 0" if is_threshold else "drawn once from a fixed seed"
        rank_zero_info(f"{path}: gray pixels are {how} (binarization {binarization})")
    return above_half(gray) if is_threshold else fixed_draw(gray, SPLITS.index("test"))


class GivenTensors(ImageDataset):
    """Images in memory: see `BinarizedImages.from_tensors`."""

    def __init__(self, train: Any, val: Any, test: Any) -> None:
        given = {name: as_tensor(images, name) for name, images in zip(SPLITS, (train, val, test), strict=True)}
        self.sides = _sides({name: tuple(images.shape) for name, images in given.items()})
        self.parts = Splits(*(part.flatten(1) for part in as_gray(given)))

    @override
    def find_shape(self, root: Path) -> tuple[int, ...]:
        return self.sides

    @override
    def read(self, root: Path, download: bool) -> Splits:
        """Return the images."""
        return self.parts


def _sides(shapes: Mapping[str, Sequence[int]]) -> tuple[int, ...]:
    """Return the height and width that all arrays must share, given their shapes by source."""
    found = {source: gray_shape(shape, source) for source, shape in shapes.items()}
    if all(len(shape) == 3 and shape[0] == shape[1] < shape[2] for shape in shapes.values()):
        source, (side, _, last) = next(iter(found.items()))
        raise ValueError(
            f"{source} has shape {(side, side, last)}: where these are {last} images of {side}x{side} pixels, move the "
            f"last axis to the front, as np.moveaxis(images, -1, 0); where they are {side} images of {side}x{last} "
            "pixels, give them a channel, as images[:, None]"
        )
    sides = {(height, width) for _, height, width in found.values()}
    if len(sides) > 1:
        raise ValueError(f"the parts hold images of several sizes: {', '.join(map(str, sorted(sides)))}")
    return sides.pop()


class _Stored(NamedTuple):
    """An array in a file.

    Attributes:
        shape: shape of the array in the file's header.
        read: function that returns the array.
    """

    shape: tuple[int, ...]
    read: Callable[[], Tensor]


def _open(path: Path) -> dict[str, _Stored]:
    """Return the arrays of a file by name; a single unnamed array has the empty name."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}; {_EXPECTED}")
    if path.suffix.lower() not in _ENDINGS:
        raise ValueError(f"cannot read {path}: {_EXPECTED}")
    with _refusing(path):
        if path.suffix.lower() in (".pt", ".pth"):
            return _torch_arrays(path)
        content = np.load(path, mmap_mode="c", allow_pickle=False)
        if not isinstance(content, NpzFile):
            return {"": _Stored(content.shape, partial(as_tensor, content, path))}
        return {name: _Stored(_npz_shape(content, name), partial(_read_npz, content, name, path)) for name in content}


def _npz_shape(content: NpzFile, name: str) -> tuple[int, ...]:
    """Return the shape of an array without reading it."""
    assert content.zip is not None
    with content.zip.open(f"{name}.npy") as member:
        is_short = np.lib.format.read_magic(member) == (1, 0)
        header = np.lib.format.read_array_header_1_0 if is_short else np.lib.format.read_array_header_2_0
        return tuple(header(member)[0])


def _read_npz(content: NpzFile, name: str, path: Path) -> Tensor:
    with _refusing(path):
        return as_tensor(content[name], name)


def _torch_arrays(path: Path) -> dict[str, _Stored]:
    is_mapped = zipfile.is_zipfile(path)  # files of torch before 1.6 are not
    content: Any = torch.load(path, map_location="cpu", mmap=is_mapped, weights_only=True)
    named = content if isinstance(content, Mapping) else {"": content}
    tensors = {str(name): as_tensor(value, name or "its content") for name, value in named.items()}
    for name, tensor in tensors.items():
        is_plain = tensor.layout == torch.strided and tensor.device.type != "meta"
        if is_plain and tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise ValueError(f"{name or 'its content'} has shape {tuple(tensor.shape)}, but fewer numbers are stored")
    return {name: _Stored(tuple(tensor.shape), partial(as_tensor, tensor, path)) for name, tensor in tensors.items()}


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn any error of the readers into a one-line ValueError, without their own warnings and advice."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        if "pickle" in said or "weights_only" in said:  # their advice is to load it unsafely
            said = "it is of another format, or holds more than numbers"
        raise ValueError(f"cannot read {path}: {said[:200]}; {_EXPECTED}") from error
