"""Binarized images: MNIST, Fashion-MNIST and scikit-learn's embedded digits."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor
from torch.utils.data import DataLoader

from nfvae.data.batches import loader

BINARIZATIONS = ("dynamic", "static", "threshold")
DATA_ROOT_VARIABLE = "NFVAE_DATA"
_DRAW_SEED = 20150521
_AMAT = "binarized_mnist_{split}.amat"


class Splits(NamedTuple):
    """The three parts of a data set, each with shape (N, P)."""

    train: Tensor
    val: Tensor
    test: Tensor


SPLITS = Splits._fields


class Source(NamedTuple):
    """Where a data set comes from: its image shape, and how it is read from a data root."""

    shape: tuple[int, int]
    read: Callable[[Path, bool], Splits]


def _read_torchvision(name: str) -> Callable[[Path, bool], Splits]:
    def read(root: Path, download: bool) -> Splits:
        """Read the 60,000 + 10,000 images; the last 10,000 of the 60,000 are for validation."""
        from torchvision import datasets

        parts = []
        for train, count in ((True, 60_000), (False, 10_000)):
            try:
                images = getattr(datasets, name)(root, train=train, download=download).data
            except Exception as error:  # torchvision raises whatever its reader stumbles over
                raise ValueError(_unreadable(name, root, error)) from error
            if images.shape != (count, 28, 28):
                raise ValueError(_unreadable(name, root, f"expected {count} images of 28x28; got {[*images.shape]}"))
            parts.append(images.flatten(1))
        return Splits(parts[0][:50_000], parts[0][50_000:], parts[1])

    return read


def _unreadable(name: str, root: Path, reason: object) -> str:
    first_line = next(iter(str(reason).splitlines()), type(reason).__name__)
    return (
        f"cannot read {name} under {root} ({first_line}); put its four IDX files into {root / name / 'raw'}, "
        f"or delete that folder and let it be downloaded, or point --data.root or {DATA_ROOT_VARIABLE} elsewhere"
    )


def _read_digits(root: Path, download: bool) -> Splits:
    """Read the 1,797 digits of 8x8 pixels and 17 grey levels; of every seven, the last two validate and test."""
    from sklearn.datasets import load_digits

    images = torch.from_numpy(np.rint(load_digits().data * (255 / 16)).astype(np.uint8))
    turn = torch.arange(len(images)) % 7
    return Splits(images[turn < 5], images[turn == 5], images[turn == 6])


DATASETS: dict[str, Source] = {
    "mnist": Source((28, 28), _read_torchvision("MNIST")),
    "fashion_mnist": Source((28, 28), _read_torchvision("FashionMNIST")),
    "digits": Source((8, 8), _read_digits),
}


def pixels_of(dataset: str) -> int:
    """Return P, the number of pixels of a data set's images.

    Raises:
        ValueError: for an unknown data set.
    """
    if dataset not in DATASETS:
        raise ValueError(f"unknown dataset {dataset!r}; known datasets: {', '.join(DATASETS)}")
    return math.prod(DATASETS[dataset].shape)


def bernoulli_draw(grey: Tensor) -> Tensor:
    """Draw binary pixels x with P(x = 1) = grey/255, on the device of `grey`, from torch's global generator.

    Sixteen random bits a pixel are compared with 257 grey; 0 and 255 come out exactly, the rest to within 2⁻¹⁶.
    This takes half the time of comparing uniform floats.

    Args:
        grey: uint8 tensor of any shape.

    Returns:
        Float tensor of zeros and ones, of the same shape.
    """
    words = torch.empty((grey.numel() + 3) // 4, dtype=torch.int64, device=grey.device).random_(-(2**63), None)
    bits = words.view(torch.int16)[: grey.numel()].view(grey.shape)
    # int16 arithmetic wraps, so 257 grey - 2¹⁵ is right although 257 grey may not fit
    return (bits.clamp_max(2**15 - 2) < grey.to(torch.int16) * 257 - 2**15).float()


class BinarizedImages(pl.LightningDataModule):
    """Binarized images in batches of shape (B, P), kept as one uint8 tensor and cut by index.

    Train, validation and test sets are fixed: 50,000 / 10,000 / 10,000 for MNIST and Fashion-MNIST (the training
    file's last 10,000 validate), 1,285 / 256 / 256 for the digits. On a GPU the tensor is moved there once.

    Args:
        dataset: `mnist`, `fashion_mnist`, or `digits`, scikit-learn's 8x8 handwriting, which needs no download.
        binarization: `dynamic` draws training pixels afresh each time an image is used, on the device, and
            validation and test pixels once from a fixed seed; `static` draws all once, or reads Larochelle & Murray's
            (2011) .amat files where the data root holds them; `threshold` takes grey > 127.
        root: folder of the data, as torchvision lays it out; by default the environment variable NFVAE_DATA,
            else `data`.
        batch_size: training images a step and device.
        eval_batch_size: images a step and device in validation, test and prediction.
        download: whether missing files are downloaded.
        seed: of the training order.

    Raises:
        ValueError: for an unknown dataset or binarization, or a batch size below 1; at `setup`, for data that are
            missing, unreadable or of a wrong shape.
    """

    def __init__(
        self,
        dataset: str = "mnist",
        binarization: str = "dynamic",
        root: str | None = None,
        batch_size: int = 128,
        eval_batch_size: int = 1000,
        download: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.pixels = pixels_of(dataset)
        if binarization not in BINARIZATIONS:
            raise ValueError(f"unknown binarization {binarization!r}; known: {', '.join(BINARIZATIONS)}")
        if min(batch_size, eval_batch_size) < 1:
            raise ValueError(f"batch sizes must be at least 1; got {batch_size} and {eval_batch_size}")
        self.save_hyperparameters()
        self.image_shape = DATASETS[dataset].shape
        self.root = Path(root or os.environ.get(DATA_ROOT_VARIABLE) or "data")
        self.splits: Splits | None = None

    def prepare_data(self) -> None:
        """Read, and download where allowed, in one process before the others start."""
        self._read()

    def setup(self, stage: str | None = None) -> None:
        """Read the images and draw what is drawn once."""
        if self.splits is None:
            self.splits = self._binarized(self._read())

    def images(self, split: str) -> Tensor:
        """Return a split as it is evaluated: uint8 zeros and ones with shape (N, P), drawn once from a fixed seed.

        Raises:
            ValueError: for an unknown split.
        """
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}; known splits: {', '.join(SPLITS)}")
        self.setup()
        part = self._split(split)
        return _fixed_draw(part, 0) if split == "train" and self.draws_afresh else part

    @property
    def pixel_means(self) -> Tensor:
        """Mean of each training pixel, in [0, 1], with shape (P,)."""
        assert self.splits is not None
        train = self.splits.train.double().mean(0)
        return (train / 255 if self.draws_afresh else train).float()

    @property
    def draws_afresh(self) -> bool:
        """Whether training images are grey and binarized each time they are used."""
        return bool(self.hparams["binarization"] == "dynamic")

    def train_dataloader(self) -> "DataLoader[Tensor]":
        """Return shuffled batches of the training set."""
        return loader(self._split("train"), self.hparams["batch_size"], self.trainer, self.hparams["seed"])

    def val_dataloader(self) -> "DataLoader[Tensor]":
        """Return ordered batches of the validation set."""
        return loader(self._split("val"), self.hparams["eval_batch_size"], self.trainer)

    def test_dataloader(self) -> "DataLoader[Tensor]":
        """Return ordered batches of the test set."""
        return loader(self._split("test"), self.hparams["eval_batch_size"], self.trainer)

    def predict_dataloader(self) -> "DataLoader[Tensor]":
        """Return ordered batches of the test set."""
        return self.test_dataloader()

    def on_after_batch_transfer(self, batch: Tensor, dataloader_idx: int) -> Tensor:
        """Binarize a training batch where that happens afresh, and make any batch float."""
        assert self.trainer is not None
        return bernoulli_draw(batch) if self.trainer.training and self.draws_afresh else batch.float()

    def _read(self) -> Splits:
        return DATASETS[self.hparams["dataset"]].read(self.root, self.hparams["download"])

    def _binarized(self, grey: Splits) -> Splits:
        binarization = self.hparams["binarization"]
        if binarization == "threshold":
            return Splits(*((part > 127).to(torch.uint8) for part in grey))
        if binarization == "static" and (files := self._amat_files()):
            rank_zero_info(f"static binarization: Larochelle & Murray's files under {self.root}")
            return Splits(*(_read_amat(file, len(part), self.pixels) for file, part in zip(files, grey, strict=True)))
        if binarization == "static":
            rank_zero_info("static binarization: drawn from a fixed seed")
        drawn = Splits(*(_fixed_draw(part, index) for index, part in enumerate(grey)))
        return drawn._replace(train=grey.train) if self.draws_afresh else drawn

    def _amat_files(self) -> list[Path]:
        if self.hparams["dataset"] != "mnist":
            return []
        names = [_AMAT.format(split=split) for split in ("train", "valid", "test")]
        folders = [self.root, self.root / "MNIST", self.root / "BinarizedMNIST"]
        found = (folder for folder in folders if all((folder / name).is_file() for name in names))
        folder = next(found, None)
        return [] if folder is None else [folder / name for name in names]

    def _split(self, split: str) -> Tensor:
        part: Tensor = getattr(self.splits, split)
        return part


def _fixed_draw(grey: Tensor, index: int) -> Tensor:
    """Draw binary pixels once, the same in every run; `index` tells the splits apart."""
    generator = torch.Generator().manual_seed(_DRAW_SEED + index)
    uniform = torch.rand(grey.shape, generator=generator)
    return (uniform * 255 < grey).to(torch.uint8)


def _read_amat(file: Path, count: int, pixels: int) -> Tensor:
    try:
        values = np.loadtxt(file, dtype=np.uint8)
    except ValueError as error:
        raise ValueError(f"cannot read {file} ({error}); remove it to draw the static binarization instead") from error
    if values.shape != (count, pixels) or values.max() > 1:
        raise ValueError(f"{file} should hold {count} rows of {pixels} zeros and ones; got shape {values.shape}")
    return torch.from_numpy(values)
