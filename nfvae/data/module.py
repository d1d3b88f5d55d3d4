"""The data module: any data set, in batches of rows."""

import os
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor
from torch.nn.functional import one_hot
from torch.utils.data import DataLoader
from typing_extensions import override

from nfvae.data.arrays import GivenTensors
from nfvae.data.batches import SPLITS, Part, Splits, data_digest, loader
from nfvae.data.binarize import above_half, bernoulli_draw, fixed_draw
from nfvae.data.datasets import DATA_ROOT_VARIABLE, DATASETS, Dataset, ImageDataset, read_checked
from nfvae.data.statistics import statistics_of
from nfvae.models import DataSpec, Statistics
from nfvae.registry import Registry, check_choice, check_flag, check_seed, check_sizes, save_plainly

DIGEST, CLASSES, COLUMNS = "_sha256", "_classes", "_columns"
"""Keys of digest, class names and column names in the data's settings; they are no arguments of the class."""
BINARIZATIONS = ("dynamic", "static", "threshold", "none")
_LEVELS = 256


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

    datasets: ClassVar[Registry[Dataset]] = DATASETS

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
        self.splits: Splits | None = None
        self._read_by(reader)

    def _read_by(self, reader: Dataset) -> None:
        """Find the form of the data that a reader reads."""
        self.reader = reader
        reader.labels, reader.condition = self.hparams["labels"], self.hparams["condition"] or ()
        self.raw, binarization = reader.find_spec(self.root), self.hparams["binarization"]
        is_gray = self.raw.levels == _LEVELS and len(self.raw.shape) == 2
        if binarization in ("static", "threshold") and not is_gray:
            raise ValueError(f"binarization {binarization} is for gray images; got {self.raw.noun} of shape {self.raw}")
        self.binarization = binarization if is_gray else "none"
        if reader.condition and not reader.has_columns:
            raise ValueError(f"dataset {self.hparams['dataset']} has no named columns: condition is for tables")
        conditions = len(reader.condition)
        if reader.labels:
            self.hparams[CLASSES] = [*reader.find_classes(self.root)]
            conditions = len(self.hparams[CLASSES])
            if not conditions:
                raise ValueError(f"dataset {self.hparams['dataset']} has no labels")
        if columns := reader.find_columns(self.root):
            self.hparams[COLUMNS] = [*columns]
        levels = self.raw.levels if self.binarization == "none" else 2
        self.spec = self.raw._replace(levels=levels, condition=conditions)

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
        data._read_by(GivenTensors(train, val, test, labels=labels))
        return data

    @property
    def classes(self) -> list[str]:
        """The names of the classes, if there are labels."""
        return list(self.hparams.get(CLASSES, []))

    @override
    def prepare_data(self) -> None:
        _ = self.splits or self._parts

    @override
    def setup(self, stage: str | None = None) -> None:
        """Read the data, unless they were read before, and draw the pixels that are drawn only once."""
        if self.splits is None:
            parts = self._parts
            others = [each for part in parts for each in (part.y, part.observed) if each is not None]
            self.hparams[DIGEST] = data_digest(*(part.x for part in parts), *others)
            self.conditions = [None if part.y is None else _condition(part.y, self.spec.condition) for part in parts]
            self.observed = [part.observed for part in parts]
            gray = Splits(*(part.x for part in parts))
            self.splits = gray if self.binarization == "none" else _binarized(gray, self.binarization, self)
            del self._parts

    def rows(self, split: str) -> Tensor:
        """Return a split for evaluation, with shape (N, P + C); binary images without conditions are uint8.

        Pixels that training draws anew are drawn once from a fixed seed.

        Raises:
            ValueError: for an unknown split.
        """
        check_choice("split", split, SPLITS)
        self.setup()
        x = _part(self.splits, split)
        x = fixed_draw(x, 0) if split == "train" and self.is_dynamic else x
        others = self._others(split)
        return x if self.spec.levels == 2 and not others else self._assembled(x, *others)

    @property
    def digest(self) -> str:
        """SHA-256 of the data of all splits, before binarization; checkpoints store it."""
        self.setup()
        return str(self.hparams[DIGEST])

    @property
    def statistics(self) -> Statistics:
        """Statistics of each value in the training data, as the model sees it."""
        x, place = _part(self.splits, "train"), SPLITS.index("train")
        scale = 255 if self.is_dynamic or self.spec.levels == _LEVELS else 1
        return statistics_of(x, self.observed[place], scale, is_binary=self.spec.levels == 2)

    @property
    def is_dynamic(self) -> bool:
        """Whether training images are gray and binarized each time they are used."""
        return self.binarization == "dynamic"

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
        return loader(_part(self.splits, split), batch_size, self.trainer, shuffle_seed, self._others(split))

    def _others(self, split: str) -> tuple[Tensor, ...]:
        """Return the conditions and the mask of a split, as far as there are any."""
        place = SPLITS.index(split)
        return tuple(each for each in (self.conditions[place], self.observed[place]) if each is not None)

    @override
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Tensor:
        assert self.trainer is not None
        x, *others = batch if isinstance(batch, tuple | list) else (batch,)
        if self.trainer.training and self.is_dynamic:
            x = bernoulli_draw(x)
        return self._assembled(x, *others)

    def _assembled(self, x: Tensor, *others: Tensor) -> Tensor:
        """Return rows: x scaled, with its missing values, then the conditions."""
        row = x.float() if self.spec.levels != _LEVELS else x.float() / (_LEVELS - 1)
        for each in others:
            if each.dtype == torch.bool:
                row = torch.where(each, row, torch.nan)
        conditions = [each for each in others if each.dtype != torch.bool]
        return torch.cat([row, *conditions], 1) if conditions else row

    @cached_property
    def _parts(self) -> list[Part]:
        """The parts of the data set, kept until they are binarized."""
        name, download = self.hparams["dataset"], self.hparams["download"]
        parts = read_checked(self.reader, name, self.raw, self.root, download)
        if self.spec.condition and any(part.y is None for part in parts):
            raise ValueError(f"dataset {name} has no labels in some of its parts: give all or none")
        return parts if self.spec.condition else [Part(part.x, None, part.observed) for part in parts]


def _condition(y: Tensor, size: int) -> Tensor:
    """Return labels as one-hot vectors, or real conditions, with shape (N, C).

    Raises:
        ValueError: for labels that are missing or out of range.
    """
    if y.is_floating_point():
        if not y.isfinite().all():
            raise ValueError(f"{int((~y.isfinite()).any(-1).sum())} of {len(y)} data lack their condition")
        return y.float()
    if missing := int((y < 0).sum()):
        raise ValueError(
            f"{missing} of {len(y)} data have no label: semi-supervised training is not offered, so leave them out, or "
            "train without labels"
        )
    return one_hot(y.long(), size).float()


def _check_conditions(labels: bool | str, condition: list[str] | None) -> None:
    if not isinstance(labels, bool | str) or labels == "":
        raise ValueError(f"labels must be true, false or the name of a column; got {labels!r}")
    if not isinstance(condition, list | tuple | None) or not all(isinstance(name, str) for name in condition or ()):
        raise ValueError(f"condition takes a list of column names; got {condition!r}")
    if labels and condition:
        raise ValueError("data take either labels or a condition; got both")


def _part(splits: Splits | None, name: str) -> Tensor:
    assert splits is not None, "setup comes first"
    part: Tensor = splits[SPLITS.index(name)]
    return part


def _data_root(root: str | None) -> Path:
    if not isinstance(root, str | os.PathLike | None):
        raise ValueError(f"root takes a path; got {root!r}")
    return Path(os.path.expanduser(root or os.environ.get(DATA_ROOT_VARIABLE) or "data"))


def _binarized(gray: Splits, binarization: str, data: DataModule) -> Splits:
    """Binarize the splits; `dynamic` leaves the training images gray."""
    if binarization == "threshold":
        return Splits(*map(above_half, gray))
    is_static = binarization == "static"
    reader = data.reader if isinstance(data.reader, ImageDataset) else None
    if is_static and reader is not None and not data.spec.condition and (published := reader.read_static(data.root)):
        rank_zero_info(f"static binarization: the published files under {data.root}")
        return published
    if is_static:
        rank_zero_info("static binarization: drawn from a fixed seed")
    train = gray.train if binarization == "dynamic" else fixed_draw(gray.train, 0)
    return Splits(train, fixed_draw(gray.val, 1), fixed_draw(gray.test, 2))
