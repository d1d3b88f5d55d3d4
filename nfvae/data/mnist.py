"""MNIST and Fashion-MNIST, in torchvision's layout."""

from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor
from typing_extensions import override

from nfvae.data.batches import Splits
from nfvae.data.datasets import DATA_ROOT_VARIABLE, ImageDataset

_AMAT, _AMAT_ROWS = "binarized_mnist_{split}.amat", {"train": 50_000, "valid": 10_000, "test": 10_000}


class TorchvisionImages(ImageDataset):
    """60,000 + 10,000 images of 28x28 gray pixels; the last 10,000 of the 60,000 are for validation.

    Attributes:
        name: name of the class in `torchvision.datasets`.
    """

    shape = (28, 28)
    name: ClassVar[str]

    @override
    def read(self, root: Path, download: bool) -> Splits:
        """Read the four IDX files under the data root, or have torchvision download them."""
        train, test = self._images(root, True, download), self._images(root, False, download)
        return Splits(train[:50_000], train[50_000:], test)

    def _images(self, root: Path, train: bool, download: bool) -> Tensor:
        from torchvision import datasets

        count, folder = 60_000 if train else 10_000, root / self.name
        missing = [path for path in (folder / "raw", folder, root) if not path.exists()]
        try:
            images: Tensor = getattr(datasets, self.name)(root, train=train, download=download).data
        except Exception as error:  # torchvision passes on any error of its reader
            for path in missing:  # torchvision makes them before it downloads
                with suppress(OSError):
                    path.rmdir()
            raise ValueError(self._unreadable(root, error)) from error
        if images.shape != (count, 28, 28):
            raise ValueError(self._unreadable(root, f"expected {count} images of 28x28; got {[*images.shape]}"))
        return images.flatten(1)

    def _unreadable(self, root: Path, reason: object) -> str:
        said = " ".join(str(reason).split()) or type(reason).__name__
        raw = root / self.name / "raw"
        packed = [path.name for path in sorted(raw.glob("*-ubyte.gz")) if not path.with_suffix("").exists()]
        if packed:
            files = ", ".join(packed)
            return f"cannot read {self.name}: {files} lie packed in {raw}; unpack them, as gunzip -k {raw}/*.gz"
        return (
            f"cannot read {self.name} under {root} ({said}); put its four IDX files into "
            f"{raw}, or delete that folder and let it be downloaded, or point --data.root or "
            f"{DATA_ROOT_VARIABLE} elsewhere"
        )


class MNIST(TorchvisionImages):
    """Handwritten digits."""

    name = "MNIST"

    @override
    def read_static(self, root: Path) -> Splits | None:
        """Read the binarization of Larochelle and Murray, if the data root has its .amat files."""
        for folder in (root, root / "MNIST", root / "BinarizedMNIST"):
            files = {folder / _AMAT.format(split=split): size for split, size in _AMAT_ROWS.items()}
            missing = [file for file in files if not file.is_file()]
            if not missing:
                return Splits(*(_read_amat(file, size) for file, size in files.items()))
            if len(missing) < len(files):
                raise ValueError(
                    f"there is no file {' and no '.join(map(str, missing))} beside the other files of the static "
                    "binarization: put it there, or move those away to have pixels drawn from a fixed seed"
                )
        return None


class FashionMNIST(TorchvisionImages):
    """Clothes."""

    name = "FashionMNIST"


def _read_amat(file: Path, count: int) -> Tensor:
    expected = f"{file} should hold {count} rows of 784 zeros and ones"
    try:
        with file.open() as lines:
            first = lines.readline()
        numbers: DTypeLike = np.float32 if "." in first else np.uint8  # float32 takes four times the memory
        values = np.loadtxt(file, dtype=numbers, delimiter="," if "," in first else None, ndmin=2)
    except ValueError as error:
        raise ValueError(f"{expected} ({error}); copy the published file there again") from error
    if values.shape != (count, 784):
        raise ValueError(f"{expected}; got shape {values.shape}")
    if not ((values == 0) | (values == 1)).all():
        raise ValueError(f"{expected}; got values from {values.min():g} to {values.max():g}")
    return torch.from_numpy(values.astype(np.uint8))
