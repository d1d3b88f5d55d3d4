"""Images of your own in one file of arrays."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nfvae.data.batches import SPLITS, Splits
from nfvae.data.binarize import fixed_draw
from nfvae.data.datasets import ImageDataset
from nfvae.data.gray import as_gray, check_shares, drawn_splits


class Arrays(ImageDataset):
    """A file of arrays: .npz, .npy, or .pt with a tensor or tensors by name.

    Three arrays `train`, `val` and `test` are the parts; of a single array they are drawn.

    Args:
        split: shares of the parts, where they are drawn.
        split_seed: of that draw.

    Raises:
        ValueError: for shares that do not add up to 1.
    """

    def __init__(self, split: Sequence[float] = (0.8, 0.1, 0.1), split_seed: int = 0) -> None:
        check_shares(split)
        self.split, self.split_seed = split, split_seed

    def find_shape(self, root: Path) -> tuple[int, int]:  # noqa: D102
        return _sides(self._parts(root))

    def read(self, root: Path, download: bool) -> Splits:
        """Read the file that is the data root."""
        return Splits(*(part.flatten(1) for part in self._parts(root)))

    def _parts(self, path: Path) -> Splits:
        arrays = {name: as_gray(value, f"{path}, {name}" if name else path) for name, value in _load(path).items()}
        if set(arrays) == set(SPLITS):
            return Splits(**arrays)
        if len(arrays) == 1:
            return drawn_splits(next(iter(arrays.values())), self.split, self.split_seed, path)
        raise ValueError(f"{path} should hold train, val and test, or one array; got {', '.join(arrays) or 'nothing'}")


def read_images(path: Path) -> Tensor:
    """Read the one array of a file as binary images, uint8 with shape (N, height, width).

    Gray pixels are drawn once, as those of a test set are.

    Raises:
        ValueError: for a file that is missing or damaged, or holds something else.
    """
    arrays = _load(path)
    if len(arrays) != 1:
        raise ValueError(f"{path} should hold one array; got {', '.join(arrays) or 'nothing'}")
    return fixed_draw(as_gray(next(iter(arrays.values())), path), SPLITS.index("test"))


class GivenTensors(ImageDataset):
    """Images at hand: see `BinarizedImages.from_tensors`."""

    def __init__(self, train: Tensor, val: Tensor, test: Tensor) -> None:
        given = zip(SPLITS, (train, val, test), strict=True)
        self.parts = Splits(*(as_gray(images, f"{name}") for name, images in given))

    def find_shape(self, root: Path) -> tuple[int, int]:  # noqa: D102
        return _sides(self.parts)

    def read(self, root: Path, download: bool) -> Splits:
        """Return the images."""
        return Splits(*(part.flatten(1) for part in self.parts))


def _sides(parts: Splits) -> tuple[int, int]:
    """Return height and width, which the parts must share."""
    shapes = {tuple(part.shape[1:]) for part in parts}
    if len(shapes) > 1:
        raise ValueError(f"the parts hold images of several sizes: {', '.join(map(str, sorted(shapes)))}")
    height, width = next(iter(shapes))
    return height, width


def _as_tensor(value: Any) -> Tensor:
    """Make a tensor, of arrays in the byte order of another machine too."""
    return torch.as_tensor(value.astype(value.dtype.newbyteorder("=")) if isinstance(value, np.ndarray) else value)


def _load(path: Path) -> dict[str, Tensor]:
    """Read the arrays of a file by name; a single one without a name has an empty one."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}; expected an .npz, .npy or .pt")
    try:
        if path.suffix == ".pt":
            with warnings.catch_warnings(action="ignore"):  # of what is refused anyway
                content: Any = torch.load(path, weights_only=True)
        else:
            content = np.load(path, allow_pickle=False)
        named = content if isinstance(content, Mapping | np.lib.npyio.NpzFile) else {"": content}
        return {str(name): _as_tensor(named[name]) for name in named}
    except Exception as error:  # whatever the readers stumble over
        raise ValueError(f"cannot read {path}: {' '.join(str(error).split())[:200]}") from error
