"""The interface of data sets, and the data sets by name."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor
from typing_extensions import override

from nfvae.data.batches import SPLITS, Part, Splits
from nfvae.models import DataSpec
from nfvae.registry import Registry

DATA_ROOT_VARIABLE = "NFVAE_DATA"


class Dataset(ABC):
    """Read the parts of a data set; the constructor takes the options.

    Attributes:
        is_root: whether the data root is the file or folder of these data, not the folder of all data sets.
        has_columns: whether it is a table with named columns, which can be conditions.
        classes: names of the classes of its labels, if it has labels: see `find_classes`.
        labels: set by the data module: whether to read labels, or the name of their column.
        condition: set by the data module: names of the columns that are conditions.
    """

    is_root: ClassVar[bool] = False
    has_columns: ClassVar[bool] = False
    classes: ClassVar[Sequence[str]] = ()
    labels: bool | str = False
    condition: Sequence[str] = ()

    @abstractmethod
    def find_spec(self, root: Path) -> DataSpec:
        """Return the form of x: its shape, its levels before any binarization, and whether values are missing.

        Raises:
            ValueError: for files that are missing or damaged.
        """

    @abstractmethod
    def read(self, root: Path, download: bool) -> Splits:
        """Read the parts: tensors with shape (N, P), or a `Part` each if there are labels or missing values.

        Data with levels are uint8 with values 0 ... 255. Real numbers are floating point, and NaN where missing.

        Args:
            root: folder of all data sets.
            download: whether missing files may be downloaded.

        Raises:
            ValueError: for files that are missing or damaged.
        """

    def find_columns(self, root: Path) -> Sequence[str]:
        """Return the names of the values of a table; none for other data.

        Raises:
            ValueError: for files that are missing or damaged.
        """
        return ()

    def find_classes(self, root: Path) -> Sequence[str]:
        """Return the names of the classes of its labels; none if it has no labels.

        Raises:
            ValueError: for files that are missing or damaged.
        """
        return self.classes


class ImageDataset(Dataset):
    """Read images.

    Attributes:
        shape: height and width of an image, or channels, height and width, unless the files determine it: see
            `find_shape`.
    """

    shape: ClassVar[tuple[int, ...]]

    def find_shape(self, root: Path) -> tuple[int, ...]:
        """Return the shape of an image.

        Raises:
            ValueError: for files that are missing or damaged.
        """
        return self.shape

    @override
    def find_spec(self, root: Path) -> DataSpec:
        return DataSpec(tuple(self.find_shape(root)), 256)

    def read_static(self, root: Path) -> Splits | None:
        """Read the published static binarization, uint8 zeros and ones, if the data root has one.

        Raises:
            ValueError: for files that are damaged.
        """
        return None


DATASETS = Registry(
    "dataset",
    Dataset,  # type: ignore[type-abstract]
    {
        "mnist": "nfvae.data.torchvision:MNIST",
        "fashion_mnist": "nfvae.data.torchvision:FashionMNIST",
        "cifar10": "nfvae.data.torchvision:CIFAR10",
        "svhn": "nfvae.data.torchvision:SVHN",
        "omniglot": "nfvae.data.omniglot:Omniglot",
        "digits": "nfvae.data.scikit:Digits",
        "wine": "nfvae.data.scikit:Wine",
        "breast_cancer": "nfvae.data.scikit:BreastCancer",
        "iris": "nfvae.data.scikit:Iris",
        "diabetes": "nfvae.data.scikit:Diabetes",
        "power": "nfvae.data.uci:Power",
        "gas": "nfvae.data.uci:Gas",
        "hepmass": "nfvae.data.uci:Hepmass",
        "miniboone": "nfvae.data.uci:Miniboone",
        "bsds300": "nfvae.data.uci:BSDS300",
        "arrays": "nfvae.data.arrays:Arrays",
        "folder": "nfvae.data.folder:Folder",
        "vectors": "nfvae.data.vectors:Vectors",
        "checkerboard": "nfvae.data.toys:Checkerboard",
        "eight_gaussians": "nfvae.data.toys:EightGaussians",
        "face": "nfvae.data.toys:Face",
        "mixture": "nfvae.data.toys:Mixture",
        "noise": "nfvae.data.toys:Noise",
        "rings": "nfvae.data.toys:Rings",
        "two_moons": "nfvae.data.toys:TwoMoons",
    },
)


def read_checked(reader: Dataset, name: str, spec: DataSpec, root: Path, download: bool) -> list[Part]:
    """Read a data set, and check the three parts that it returns.

    Raises:
        ValueError: for files that are missing or damaged, or a class that returns something else.
        OSError: for files that cannot be read.
    """
    try:
        splits = Splits(*reader.read(root, download))
    except (ValueError, OSError):
        raise
    except Exception as error:  # a user's own class may raise anything
        raise ValueError(f"cannot read dataset {name}: {error or type(error).__name__}") from error
    parts = [part if isinstance(part, Part) else Part(part) for part in splits]
    for part in parts:
        _check_values(part.x, name, spec)
        if part.observed is not None and (part.observed.dtype != torch.bool or part.observed.shape != part.x.shape):
            raise ValueError(f"dataset {name} gives a mask with shape {tuple(part.observed.shape)}; expected {spec}")
    _tell_constant([part.x for part in parts])
    return parts


def _check_values(x: Any, name: str, spec: DataSpec) -> None:
    is_tensor = isinstance(x, Tensor)
    got = f"{x.dtype} with shape {tuple(x.shape)}" if is_tensor else type(x).__name__
    fits = is_tensor and x.ndim == 2 and len(x) and x.shape[1] == spec.size
    if not (fits and (x.is_floating_point() if spec.levels is None else x.dtype == torch.uint8)):
        kind = "floating point" if spec.levels is None else "torch.uint8"
        raise ValueError(f"dataset {name} gives {got}; expected {kind} with shape (N, {math.prod(spec.shape)})")
    if spec.levels is None and not (x.isfinite() | x.isnan() & spec.missing).all():
        raise ValueError(f"dataset {name} gives numbers that are not finite; expected {spec}")


def _tell_constant(parts: Sequence[Tensor]) -> None:
    """Report parts whose data are all the same, such as pictures whose ink was lost."""
    constant = []
    for name, part in zip(SPLITS, parts, strict=True):
        if len(part) > 1 and torch.equal(part[0], part.amin(0)) and torch.equal(part[0], part.amax(0)):
            is_blank = bool(part[0].amin() == part[0].amax())
            constant.append(f"{len(part):,} of {name}" + (f" (all values {part[0, 0]:g})" if is_blank else ""))
    if constant:
        rank_zero_info(f"data that are all the same: {', '.join(constant)}")
