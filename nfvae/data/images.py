"""Binarized images: the data module."""

import os
from pathlib import Path
from typing import Any, Self

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor
from torch.utils.data import DataLoader

from nfvae.data.arrays import GivenTensors
from nfvae.data.batches import SPLITS, Splits, loader
from nfvae.data.binarize import bernoulli_draw, fixed_draw
from nfvae.data.datasets import DATA_ROOT_VARIABLE, DATASETS, ImageDataset, read_checked
from nfvae.registry import check_choice, check_sizes, save_plainly

BINARIZATIONS = ("dynamic", "static", "threshold")


class BinarizedImages(pl.LightningDataModule):
    """Binarized images in batches of shape (B, P), kept as one uint8 tensor and cut by index.

    Train, validation and test sets are fixed. On a GPU the tensor is moved there once.

    Args:
        dataset: a name in `nfvae.data.DATASETS`, of which `arrays` and `folder` are your own images in what `root`
            names, or "package.module:Class" of your own.
        binarization: `dynamic` draws training pixels afresh each time an image is used, on the device, and
            validation and test pixels once from a fixed seed; `static` draws all once, or reads the
            published .amat files of MNIST where the data root holds them; `threshold` takes gray > 127.
        root: folder of the data, as torchvision lays it out; by default the environment variable NFVAE_DATA,
            else `data`.
        batch_size: training images a step and device.
        eval_batch_size: images a step and device in validation, test and prediction.
        download: whether missing files are downloaded.
        seed: of the training order.
        dataset_options: further arguments of the data set's class.

    Raises:
        ValueError: for an unknown name, a batch size below 1, or data that are missing, unreadable or of a wrong shape.
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
        dataset_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.reader = DATASETS.make(dataset, dataset_options)
        check_choice("binarization", binarization, BINARIZATIONS)
        check_sizes(batch_size=batch_size, eval_batch_size=eval_batch_size)
        save_plainly(self)
        self.root = Path(root or os.environ.get(DATA_ROOT_VARIABLE) or "data")
        self.shape = self.reader.find_shape(self.root)
        self.splits: Splits | None = None

    @classmethod
    def from_tensors(cls, train: Tensor, val: Tensor, test: Tensor, **settings: Any) -> Self:
        """Make a data module of images at hand.

        The command line, which finds data by their name, cannot evaluate a run that is trained on them.

        Args:
            train: images with shape (N, height, width) that are binary, gray from 0 to 1, or 0 ... 255; the others too.
            val: for validation.
            test: for the test.
            settings: `binarization`, `batch_size`, `eval_batch_size` and `seed`, as of the class.

        Raises:
            ValueError: for other images, or images of several sizes.
        """
        data = cls("digits", **settings)  # whose reader is then another one
        data.reader, data.hparams["dataset"] = GivenTensors(train, val, test), "tensors"
        data.shape = data.reader.find_shape(data.root)
        return data

    def prepare_data(self) -> None:
        """Read, and download where allowed, in one process before the others start."""
        self._read()

    def setup(self, stage: str | None = None) -> None:
        """Read the images and draw what is drawn once."""
        if self.splits is None:
            self.splits = _binarized(self._read(), self.hparams["binarization"], self.reader, self.root)

    def images(self, split: str) -> Tensor:
        """Return a split as it is evaluated: uint8 zeros and ones with shape (N, P), drawn once from a fixed seed.

        Raises:
            ValueError: for an unknown split.
        """
        check_choice("split", split, SPLITS)
        self.setup()
        part = self._split(split)
        return fixed_draw(part, 0) if split == "train" and self.is_dynamic else part

    @property
    def pixel_means(self) -> Tensor:
        """Mean of each training pixel, in [0, 1], with shape (P,)."""
        assert self.splits is not None
        train = self.splits.train.double().mean(0)
        return (train / 255 if self.is_dynamic else train).float()

    @property
    def is_dynamic(self) -> bool:
        """Whether training images are gray and binarized each time they are used."""
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

    predict_dataloader = test_dataloader

    def on_after_batch_transfer(self, batch: Tensor, dataloader_idx: int) -> Tensor:
        """Binarize a training batch where that happens afresh, and make any batch float."""
        assert self.trainer is not None
        return bernoulli_draw(batch) if self.trainer.training and self.is_dynamic else batch.float()

    def _read(self) -> Splits:
        return read_checked(self.reader, self.hparams["dataset"], self.shape, self.root, self.hparams["download"])

    def _split(self, split: str) -> Tensor:
        assert self.splits is not None
        return self.splits[SPLITS.index(split)]


def _binarized(gray: Splits, binarization: str, reader: ImageDataset, root: Path) -> Splits:
    """Draw what is drawn once."""
    if binarization == "threshold":
        return Splits(*((part > 127).to(gray.train.dtype) for part in gray))
    if binarization == "static" and (published := reader.read_static(root)):
        rank_zero_info(f"static binarization: the published files under {root}")
        return published
    if binarization == "static":
        rank_zero_info("static binarization: drawn from a fixed seed")
    train = gray.train if binarization == "dynamic" else fixed_draw(gray.train, 0)
    return Splits(train, fixed_draw(gray.val, 1), fixed_draw(gray.test, 2))
