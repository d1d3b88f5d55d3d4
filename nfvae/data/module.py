"""The data module: any data set, in batches of rows."""

import os
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import pytorch_lightning as pl
from torch import Tensor
from torch.utils.data import DataLoader
from typing_extensions import override

from nfvae.data.arrays import GivenTensors
from nfvae.data.batches import SPLITS, Part, Splits, loader
from nfvae.data.binarize import bernoulli_draw
from nfvae.data.content import Content, Source
from nfvae.data.datasets import DATA_ROOT_VARIABLE, DATASETS, Dataset
from nfvae.models import DataSpec, Statistics
from nfvae.registry import check_choice, check_flag, check_seed, check_sizes, save_plainly

DIGEST, CLASSES, CLASS_SHARES, COLUMNS = "_sha256", "_classes", "_class_shares", "_columns"
"""Keys of digest, class names, their shares in the training part, and column names in the data's settings.

They are no arguments of the class.
"""
BINARIZATIONS = ("dynamic", "static", "threshold", "none")


class DataModule(pl.LightningDataModule):
    """Load images or vectors in batches of rows with shape (B, P + C), on a GPU from the start.

    A row is x, then its label (one-hot) or condition, if requested. Images have values from 0 to 1; missing values are
    NaN.

    Args:
        dataset: name of the data set in `nfvae.data.DATASETS`, or "package.module:Class" of your own; `arrays`,
            `folder` and `vectors` read your own data from `root`.
        binarization: how gray images become binary: `dynamic` draws training pixels anew each time an image is used,
            on the device, and validation and test pixels once from a fixed seed; `static` draws all pixels once, or
            reads the published .amat files of MNIST if the data root has them; `threshold` takes gray > 127; `none`
            keeps the 256 levels. Color images and vectors are never binarized.
        root: folder of the data in torchvision's layout, or the file or folder of your own data; ~ is the home
            folder. The default is the environment variable NFVAE_DATA, else `data`.
        batch_size: training data per step and device.
        eval_batch_size: data per step and device in validation, test and prediction.
        download: whether to download missing files.
        seed: random seed of the training order.
        labels: whether to use the labels of the data set; for `vectors`, the name of their column.
        condition: names of the columns of `vectors` that are conditions instead of values.
        dataset_options: options of the data set's class.

    Raises:
        ValueError: for an unknown name, a setting out of range, or data that are missing, unreadable or misshapen.
    """

    content: Content | None

    def __init__(
        self,
        dataset: str = "mnist",
        binarization: str = "dynamic",
        root: str | None = None,
        batch_size: int = 128,
        eval_batch_size: int = 1000,
        download: bool = True,
        seed: int = 0,
        labels: bool | str = False,
        condition: list[str] | None = None,
        dataset_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        reader = DATASETS.make(dataset, dataset_options)
        check_choice("binarization", binarization, BINARIZATIONS)
        check_sizes(batch_size=batch_size, eval_batch_size=eval_batch_size)
        check_flag("download", download)
        check_seed("seed", seed)
        _check_conditions(labels, condition)
        save_plainly(self)
        self.root = _data_root(root)
        self._set_source(reader)

    def _set_source(self, reader: Dataset) -> None:
        self.source, self.content = Source(reader, self.hparams, self.root), None
        self.hparams.update({CLASSES: self.source.classes, COLUMNS: self.source.columns})

    @classmethod
    def from_tensors(cls, train: Any, val: Any, test: Any, *, labels: Any = None, **settings: Any) -> Self:
        """Make a data module from data in memory.

        The command line finds data by name, so it cannot evaluate a run that is trained on them.

        Args:
            train: training images with shape (N, height, width) or (N, channels, height, width), as a tensor, a NumPy
                array or lists: binary, from 0 to 1, or 0 ... 255. The scale is chosen once for all three parts.
                Or vectors of real numbers with shape (N, D), NaN where missing.
            val: validation data.
            test: test data.
            labels: labels of the three parts, whole numbers from 0 with shape (N,) each; None for none.
            settings: `binarization`, `batch_size`, `eval_batch_size` and `seed`, as for the class.

        Raises:
            ValueError: for other data, or data of several sizes.
        """
        data = cls("digits", labels=labels is not None, **settings)  # the reader is replaced below
        data.hparams["dataset"] = "tensors"
        data._set_source(GivenTensors(train, val, test, labels=labels))
        return data

    @property
    def spec(self) -> DataSpec:
        """The form of the data, as a model sees them."""
        return self.source.spec

    @property
    def binarization(self) -> str:
        """How images are binarized; `none` for other data."""
        return self.source.binarization

    @property
    def splits(self) -> Splits | None:
        """The values of the three parts, with gray training images if they are drawn anew; None before `setup`."""
        return None if self.content is None else self.content.splits

    @override
    def prepare_data(self) -> None:
        _ = self.content or self._parts

    @override
    def setup(self, stage: str | None = None) -> None:
        """Read the data, unless they were read before, and draw the pixels that are drawn only once."""
        if self.content is None:
            self.content = Content(self.source, self._parts)
            self.hparams[DIGEST] = self.content.digest
            if self.source.classes:
                self.hparams[CLASS_SHARES] = self.content.conditions[0].mean(0).tolist()
            del self._parts

    def rows(self, split: str) -> Tensor:
        """Return a split for evaluation, with shape (N, P + C); binary images without conditions are uint8.

        Pixels that training draws anew are drawn once from a fixed seed.

        Raises:
            ValueError: for an unknown split.
        """
        check_choice("split", split, SPLITS)
        return self._content.rows(split)

    @property
    def digest(self) -> str:
        """SHA-256 of the data of all splits, before binarization; checkpoints store it."""
        return self._content.digest

    @property
    def statistics(self) -> Statistics:
        """Statistics of each value in the training data, as the model sees it."""
        return self._content.statistics()

    @override
    def train_dataloader(self) -> "DataLoader[Any]":
        return self._loader("train", self.hparams["batch_size"], self.hparams["seed"])

    @override
    def val_dataloader(self) -> "DataLoader[Any]":
        return self._loader("val", self.hparams["eval_batch_size"])

    @override
    def test_dataloader(self) -> "DataLoader[Any]":
        return self._loader("test", self.hparams["eval_batch_size"])

    predict_dataloader = test_dataloader

    def _loader(self, split: str, batch_size: int, shuffle_seed: int | None = None) -> "DataLoader[Any]":
        x, *others = self._content.tensors(split)
        return loader(x, batch_size, self.trainer, shuffle_seed, tuple(others))

    @override
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Tensor:
        assert self.trainer is not None
        x, *others = batch if isinstance(batch, tuple | list) else (batch,)
        is_drawn = self.trainer.training and self._content.is_dynamic
        return self._content.assembled(bernoulli_draw(x) if is_drawn else x, *others)

    @property
    def _content(self) -> Content:
        self.setup()
        assert self.content is not None
        return self.content

    @cached_property
    def _parts(self) -> list[Part]:
        """The parts of the data set, kept until they are binarized."""
        return self.source.read()


def _check_conditions(labels: bool | str, condition: list[str] | None) -> None:
    if not isinstance(labels, bool | str) or labels == "":
        raise ValueError(f"labels must be true, false or the name of a column; got {labels!r}")
    if not isinstance(condition, list | tuple | None) or not all(isinstance(name, str) for name in condition or ()):
        raise ValueError(f"condition takes a list of column names; got {condition!r}")
    if labels and condition:
        raise ValueError("data take either labels or a condition; got both")


def _data_root(root: str | None) -> Path:
    if not isinstance(root, str | os.PathLike | None):
        raise ValueError(f"root takes a path; got {root!r}")
    return Path(os.path.expanduser(root or os.environ.get(DATA_ROOT_VARIABLE) or "data"))
