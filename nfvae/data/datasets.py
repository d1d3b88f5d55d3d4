"""The interface of image data sets, and the data sets by name."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from nfvae.data.batches import SPLITS, Splits
from nfvae.registry import Registry

DATA_ROOT_VARIABLE = "NFVAE_DATA"


class ImageDataset(ABC):
    """Read gray images; the constructor takes the options.

    Attributes:
        shape: height and width of an image, unless the files determine it: see `find_shape`.
        is_root: whether the data root is the file or folder of these images, not the folder of all data sets.
    """

    shape: ClassVar[tuple[int, ...]]
    is_root: ClassVar[bool] = False

    def find_shape(self, root: Path) -> tuple[int, ...]:
        """Return height and width of an image.

        Raises:
            ValueError: for files that are missing or damaged.
        """
        return self.shape

    @abstractmethod
    def read(self, root: Path, download: bool) -> Splits:
        """Read uint8 tensors with shape (N, P), each with its values in 0 ... 255.

        Args:
            root: folder of all data sets.
            download: whether missing files may be downloaded.

        Raises:
            ValueError: for files that are missing or damaged.
        """

    def read_static(self, root: Path) -> Splits | None:
        """Read the published static binarization, uint8 zeros and ones, if the data root has one.

        Raises:
            ValueError: for files that are damaged.
        """
        return None


DATASETS = Registry(
    "dataset",
    ImageDataset,  # type: ignore[type-abstract]
    {
        "mnist": "nfvae.data.mnist:MNIST",
        "fashion_mnist": "nfvae.data.mnist:FashionMNIST",
        "digits": "nfvae.data.digits:Digits",
        "omniglot": "nfvae.data.omniglot:Omniglot",
        "arrays": "nfvae.data.arrays:Arrays",
        "folder": "nfvae.data.folder:Folder",
    },
)


def read_checked(reader: ImageDataset, name: str, shape: Sequence[int], root: Path, download: bool) -> Splits:
    """Read a data set, and check the tensors that it returns.

    Raises:
        ValueError: for files that are missing or damaged, or a class that returns something else.
        OSError: for files that cannot be read.
    """
    pixels = math.prod(shape)
    try:
        splits = Splits(*reader.read(root, download))
    except (ValueError, OSError):
        raise
    except Exception as error:  # a user's own class may raise anything
        raise ValueError(f"cannot read dataset {name}: {error or type(error).__name__}") from error
    for part in splits:
        is_tensor = isinstance(part, Tensor)
        got = f"{part.dtype} with shape {tuple(part.shape)}" if is_tensor else type(part).__name__
        if not (is_tensor and part.dtype == torch.uint8 and part.ndim == 2 and len(part) and part.shape[1] == pixels):
            raise ValueError(f"dataset {name} gives {got}; expected torch.uint8 with shape (N, {pixels})")
    _tell_constant(splits)
    return splits


def _tell_constant(parts: Splits) -> None:
    """Report parts whose images are all the same, such as pictures whose ink was lost."""
    constant = []
    for name, part in zip(SPLITS, parts, strict=True):
        if len(part) > 1 and torch.equal(part[0], part.amin(0)) and torch.equal(part[0], part.amax(0)):
            is_blank = bool(part[0].amin() == part[0].amax())
            constant.append(f"{len(part):,} of {name}" + (f" (all pixels {int(part[0, 0])})" if is_blank else ""))
    if constant:
        rank_zero_info(f"images that are all the same: {', '.join(constant)}")
