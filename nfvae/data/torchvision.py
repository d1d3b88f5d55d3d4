"""Image data sets in torchvision's layout."""

from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor
from typing_extensions import override

from nfvae.data.batches import Part, Splits
from nfvae.data.datasets import DATA_ROOT_VARIABLE, ImageDataset

_AMAT, _AMAT_ROWS = "binarized_mnist_{split}.amat", {"train": 50_000, "valid": 10_000, "test": 10_000}


class TorchvisionImages(ImageDataset):
    """Images that torchvision reads or downloads; the last ones of its training part are for validation.

    Attributes:
        name: name of the class in `torchvision.datasets`.
        folder: folder of the files in the data root.
        counts: numbers of images for training and validation, and for test.
    """

    name: ClassVar[str]
    folder: ClassVar[str] = ""
    counts: ClassVar[tuple[int, int, int]]

    @override
    def read(self, root: Path, download: bool) -> Splits:
        """Read the files under the data root, or have torchvision download them."""
        train, test = self._part(root, True, download), self._part(root, False, download)
        order = torch.arange(len(train))
        return Splits(train[order[: self.counts[0]]], train[order[self.counts[0] :]], test)

    def _part(self, root: Path, train: bool, download: bool) -> Any:
        folder = root / (self.folder or self.name)
        missing = [path for path in (folder / "raw", folder, root) if not path.exists()]
        try:
            images, labels = self._content(root, train, download)
        except Exception as error:  # torchvision passes on any error of its reader
            for path in missing:  # torchvision makes them before it downloads
                with suppress(OSError):
                    path.rmdir()
            raise ValueError(self._unreadable(root, error)) from error
        expected = (self.counts[0] + self.counts[1] if train else self.counts[2], *self.shape)
        if images.shape != expected:
            raise ValueError(self._unreadable(root, f"expected {expected[0]} images of shape {[*self.shape]}"))
        return Part(images.flatten(1), labels.long()) if self.labels else images.flatten(1)

    def _content(self, root: Path, train: bool, download: bool) -> tuple[Tensor, Tensor]:
        """Return the images of a part with shape (N, *), and its labels, by torchvision's class."""
        from torchvision import datasets

        content = getattr(datasets, self.name)(root, train=train, download=download)
        return torch.as_tensor(content.data), torch.as_tensor(content.targets)

    def _unreadable(self, root: Path, reason: object) -> str:
        said = " ".join(str(reason).split()) or type(reason).__name__
        raw = root / self.name / "raw"
        packed = [path.name for path in sorted(raw.glob("*-ubyte.gz")) if not path.with_suffix("").exists()]
        if packed:
            files = ", ".join(packed)
            return f"cannot read {self.name}: {files} lie packed in {raw}; unpack them, as gunzip -k {raw}/*.gz"
        files = (
            f"its four IDX files into {raw}" if isinstance(self, _FourFiles) else f"its files into {root / self.folder}"
        )
        return (
            f"cannot read {self.name} under {root} ({said}); put {files}, or delete that folder and let it be "
            f"downloaded, or point --data.root or {DATA_ROOT_VARIABLE} elsewhere"
        )


class _FourFiles(TorchvisionImages):
    """28x28 gray pixels in four IDX files."""

    shape = (28, 28)
    counts = (50_000, 10_000, 10_000)


class MNIST(_FourFiles):
    """Handwritten digits."""

    name = "MNIST"
    classes = tuple("0123456789")

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


class FashionMNIST(_FourFiles):
    """Clothes."""

    name = "FashionMNIST"
    classes = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


class CIFAR10(TorchvisionImages):
    """32x32 color pictures of ten kinds of things; 45,000, 5,000 and 10,000 of them."""

    name, folder = "CIFAR10", "cifar-10-batches-py"
    shape = (3, 32, 32)
    counts = (45_000, 5_000, 10_000)
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

    @override
    def _content(self, root: Path, train: bool, download: bool) -> tuple[Tensor, Tensor]:
        images, labels = super()._content(root, train, download)
        return images.movedim(-1, 1), labels


class SVHN(TorchvisionImages):
    """32x32 color pictures of house numbers; 65,257, 8,000 and 26,032 of them."""

    name = "SVHN"
    shape = (3, 32, 32)
    counts = (65_257, 8_000, 26_032)
    classes = tuple("0123456789")

    @override
    def _content(self, root: Path, train: bool, download: bool) -> tuple[Tensor, Tensor]:
        from torchvision import datasets

        content = datasets.SVHN(str(root), split="train" if train else "test", download=download)
        return torch.as_tensor(content.data), torch.as_tensor(content.labels)


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
