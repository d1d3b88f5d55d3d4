"""The data module of binarized images."""

import os
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor
from torch.utils.data import DataLoader
from typing_extensions import override

from nfvae.data.arrays import GivenTensors
from nfvae.data.batches import SPLITS, Splits, data_digest, loader
from nfvae.data.binarize import above_half, bernoulli_draw, fixed_draw
from nfvae.data.datasets import DATA_ROOT_VARIABLE, DATASETS, ImageDataset, read_checked
from nfvae.data.gray import mean_image
from nfvae.models import DataSpec, Statistics
from nfvae.registry import Registry, check_choice, check_flag, check_seed, check_sizes, save_plainly

DIGEST = "_sha256"
"""Key of the data's digest in their settings, once they are read; it is not an argument of the class."""
BINARIZATIONS = ("dynamic", "static", "threshold")


class BinarizedImages(pl.LightningDataModule):
    """Load gray images and binarize them, in batches of shape (B, P), on a GPU from the start.

    Args:
        dataset: name of the data set in `nfvae.data.DATASETS`, or "package.module:Class" of your own; `arrays` and
            `folder` read your own images from `root`.
        binarization: how gray pixels become binary: `dynamic` draws training pixels anew each time an image is used,
            on the device, and validation and test pixels once from a fixed seed; `static` draws all pixels once, or
            reads the published .amat files of MNIST if the data root has them; `threshold` takes gray > 127.
        root: folder of the data in torchvision's layout, or the file or folder of your own images; ~ is the home
            folder. The default is the environment variable NFVAE_DATA, else `data`.
        batch_size: training images per step and device.
        eval_batch_size: images per step and device in validation, test and prediction.
        download: whether to download missing files.
        seed: random seed of the training order.
        dataset_options: options of the data set's class.

    Raises:
        ValueError: for an unknown name, a setting out of range, or data that are missing, unreadable or misshapen.
    """

    datasets: ClassVar[Registry[ImageDataset]] = DATASETS

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
        check_flag("download", download)
        check_seed("seed", seed)
        save_plainly(self)
        self.root = _data_root(root)
        self.spec = DataSpec(self.reader.find_shape(self.root), 2)
        self.splits: Splits | None = None

    @classmethod
    def from_tensors(cls, train: Any, val: Any, test: Any, **settings: Any) -> Self:
        """Make a data module from images in memory.

        The command line finds data by name, so it cannot evaluate a run that is trained on them.

        Args:
            train: training images with shape (N, height, width), as a tensor, a NumPy array or lists: binary, gray from
                0 to 1, or 0 ... 255. The scale is chosen once for all three parts.
            val: validation images.
            test: test images.
            settings: `binarization`, `batch_size`, `eval_batch_size` and `seed`, as for the class.

        Raises:
            ValueError: for other images, or images of several sizes.
        """
        data = cls("digits", **settings)  # the reader is replaced below
        data.reader, data.hparams["dataset"] = GivenTensors(train, val, test), "tensors"
        data.spec = DataSpec(data.reader.find_shape(data.root), 2)
        return data

    @override
    def prepare_data(self) -> None:
        _ = self.splits or self._gray

    @override
    def setup(self, stage: str | None = None) -> None:
        """Read the images, unless they were read before, and draw the pixels that are drawn only once."""
        if self.splits is None:
            self.hparams[DIGEST] = data_digest(*self._gray)
            self.splits = _binarized(self._gray, self.hparams["binarization"], self.reader, self.root)
            del self._gray

    def images(self, split: str) -> Tensor:
        """Return a split for evaluation: uint8 zeros and ones with shape (N, P), drawn once from a fixed seed.

        Raises:
            ValueError: for an unknown split.
        """
        check_choice("split", split, SPLITS)
        self.setup()
        part = _part(self.splits, split)
        return fixed_draw(part, 0) if split == "train" and self.is_dynamic else part

    @property
    def digest(self) -> str:
        """SHA-256 of the gray images of all splits, before binarization; checkpoints store it."""
        self.setup()
        return str(self.hparams[DIGEST])

    @property
    def statistics(self) -> Statistics:
        """Statistics of each training pixel: its mean in [0, 1], and the deviation of a binary pixel of this mean."""
        mean = mean_image(_part(self.splits, "train")) / (255 if self.is_dynamic else 1)
        return Statistics(mean.float(), (mean * (1 - mean)).sqrt().float())

    @property
    def is_dynamic(self) -> bool:
        """Whether training images are gray and binarized each time they are used."""
        return bool(self.hparams["binarization"] == "dynamic")

    @override
    def train_dataloader(self) -> "DataLoader[Tensor]":
        return loader(_part(self.splits, "train"), self.hparams["batch_size"], self.trainer, self.hparams["seed"])

    @override
    def val_dataloader(self) -> "DataLoader[Tensor]":
        return loader(_part(self.splits, "val"), self.hparams["eval_batch_size"], self.trainer)

    @override
    def test_dataloader(self) -> "DataLoader[Tensor]":
        return loader(_part(self.splits, "test"), self.hparams["eval_batch_size"], self.trainer)

    predict_dataloader = test_dataloader

    @override
    def on_after_batch_transfer(self, batch: Tensor, dataloader_idx: int) -> Tensor:
        assert self.trainer is not None
        return bernoulli_draw(batch) if self.trainer.training and self.is_dynamic else batch.float()

    @cached_property
    def _gray(self) -> Splits:
        """The gray images, kept until they are binarized."""
        return read_checked(self.reader, self.hparams["dataset"], self.spec.shape, self.root, self.hparams["download"])


def _part(splits: Splits | None, name: str) -> Tensor:
    assert splits is not None, "setup comes first"
    return splits[SPLITS.index(name)]


def _data_root(root: str | None) -> Path:
    if not isinstance(root, str | os.PathLike | None):
        raise ValueError(f"root takes a path; got {root!r}")
    return Path(os.path.expanduser(root or os.environ.get(DATA_ROOT_VARIABLE) or "data"))


def _binarized(gray: Splits, binarization: str, reader: ImageDataset, root: Path) -> Splits:
    """Binarize the splits; `dynamic` leaves the training images gray."""
    if binarization == "threshold":
        return Splits(*map(above_half, gray))
    if binarization == "static" and (published := reader.read_static(root)):
        rank_zero_info(f"static binarization: the published files under {root}")
        return published
    if binarization == "static":
        rank_zero_info("static binarization: drawn from a fixed seed")
    train = gray.train if binarization == "dynamic" else fixed_draw(gray.train, 0)
    return Splits(train, fixed_draw(gray.val, 1), fixed_draw(gray.test, 2))
