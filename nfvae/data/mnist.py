"""MNIST and Fashion-MNIST, as torchvision lays them out."""

from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from nfvae.data.batches import Splits
from nfvae.data.datasets import DATA_ROOT_VARIABLE, ImageDataset

_AMAT = "binarized_mnist_{split}.amat"


class TorchvisionImages(ImageDataset):
    """60,000 + 10,000 images of 28x28 gray pixels; the last 10,000 of the 60,000 are for validation.

    Attributes:
        name: of the class in `torchvision.datasets`.
    """

    shape = (28, 28)
    name: ClassVar[str]

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
        except Exception as error:  # torchvision raises whatever its reader stumbles over
            for path in missing:  # which it makes before it downloads
                with suppress(OSError):
                    path.rmdir()
            raise ValueError(self._unreadable(root, error)) from error
        if images.shape != (count, 28, 28):
            raise ValueError(self._unreadable(root, f"expected {count} images of 28x28; got {[*images.shape]}"))
        return images.flatten(1)

    def _unreadable(self, root: Path, reason: object) -> str:
        said = " ".join(str(reason).split()) or type(reason).__name__
        return (
            f"cannot read {self.name} under {root} ({said}); put its four IDX files into "
            f"{root / self.name / 'raw'}, or delete that folder and let it be downloaded, or point --data.root or "
            f"{DATA_ROOT_VARIABLE} elsewhere"
        )


class MNIST(TorchvisionImages):
    """Handwritten digits."""

    name = "MNIST"

    def read_static(self, root: Path) -> Splits | None:
        """Read the binarization of Larochelle and Murray, where the data root holds its .amat files."""
        names = [_AMAT.format(split=split) for split in ("train", "valid", "test")]
        for folder in (root, root / "MNIST", root / "BinarizedMNIST"):
            if all((folder / name).is_file() for name in names):
                sizes = (50_000, 10_000, 10_000)
                return Splits(*(_read_amat(folder / name, size) for name, size in zip(names, sizes, strict=True)))
        return None


class FashionMNIST(TorchvisionImages):
    """Clothes."""

    name = "FashionMNIST"


def _read_amat(file: Path, count: int) -> Tensor:
    try:
        values = np.loadtxt(file, dtype=np.uint8)
    except ValueError as error:
        raise ValueError(f"cannot read {file} ({error}); remove it to draw the static binarization instead") from error
    if values.shape != (count, 784) or values.max() > 1:
        raise ValueError(f"{file} should hold {count} rows of 784 zeros and ones; got shape {values.shape}")
    return torch.from_numpy(values)
