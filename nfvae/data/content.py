"""The content of a data set: read, binarized, and assembled into rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor
from torch.nn.functional import one_hot

from nfvae.data.batches import SPLITS, Part, Splits, data_digest
from nfvae.data.binarize import above_half, fixed_draw
from nfvae.data.datasets import Dataset, ImageDataset, read_checked
from nfvae.data.statistics import statistics_of
from nfvae.models import Statistics

LEVELS = 256
"""Levels of images that are not binarized."""


class Source:
    """A data set to be read, and the form of its data.

    Args:
        reader: reads the data set.
        settings: settings of the data module.
        root: root of the data.

    Attributes:
        spec: form of the data as a model sees them; `raw` is that before binarization.
        binarization: how images are binarized; `none` for other data.
        classes: names of the classes; empty without labels.
        columns: names of the values of a table; empty for other data.

    Raises:
        ValueError: for settings that do not suit the data, or data that are missing or damaged.
    """

    def __init__(self, reader: Dataset, settings: Mapping[str, Any], root: Path) -> None:
        self.reader, self.name, self.root, self.download = reader, settings["dataset"], root, settings["download"]
        reader.labels, reader.condition = settings["labels"], settings["condition"] or ()
        if reader.condition and not reader.has_columns:
            raise ValueError(f"dataset {self.name} has no named columns: condition is for tables")
        self.raw, binarization = reader.find_spec(root), settings["binarization"]
        is_gray = self.raw.levels == LEVELS and len(self.raw.shape) == 2
        self.binarization = binarization if is_gray else "none"
        self.classes, self.columns = (
            [*(reader.find_classes(root) if reader.labels else [])],
            [*reader.find_columns(root)],
        )
        if reader.labels and not self.classes:
            raise ValueError(f"dataset {self.name} has no labels")
        levels = self.raw.levels if self.binarization == "none" else 2
        self.spec = self.raw._replace(levels=levels, conditions=len(self.classes or reader.condition))

    def read(self) -> list[Part]:
        """Read the three parts, before binarization.

        Raises:
            ValueError: for data that are missing or damaged, or parts without labels.
        """
        parts = read_checked(self.reader, self.name, self.raw, self.root, self.download)
        if not self.spec.conditions:
            return [Part(part.x, None, part.observed) for part in parts]
        if any(part.y is None for part in parts):
            raise ValueError(f"dataset {self.name} has no labels in some of its parts: give all or none")
        return parts

    def binarized(self, gray: Splits) -> Splits:
        """Binarize gray images; `dynamic` leaves the training images gray, and `none` all."""
        if self.binarization == "none":
            return gray
        if self.binarization == "threshold":
            return Splits(*map(above_half, gray))
        is_static = self.binarization == "static"
        published = self.reader.read_static(self.root) if is_static and isinstance(self.reader, ImageDataset) else None
        if published and not self.spec.conditions:
            rank_zero_info(f"static binarization: the published files under {self.root}")
            return published
        if is_static:
            rank_zero_info("static binarization: drawn from a fixed seed")
        train = fixed_draw(gray.train, 0) if is_static else gray.train
        return Splits(train, fixed_draw(gray.val, 1), fixed_draw(gray.test, 2))


class Content:
    """The three parts of a data set, ready to be cut into batches.

    Args:
        source: the source of the data.
        parts: what it has read.

    Attributes:
        splits: values with shape (N, P) each; of dynamic binarization, gray training images.
        conditions: conditions with shape (N, C) of each part, or None.
        observed: masks with shape (N, P) of each part, or None.
        digest: SHA-256 of the data before binarization.
    """

    def __init__(self, source: Source, parts: list[Part]) -> None:
        others = [each for part in parts for each in (part.y, part.observed) if each is not None]
        self.digest = data_digest(*(part.x for part in parts), *others)
        self.spec, self.is_dynamic = source.spec, source.binarization == "dynamic"
        self.conditions = [_condition(part.y, self.spec.conditions) for part in parts]
        self.observed = [part.observed for part in parts]
        if source.classes:
            _check_known(self.conditions, source)
        self.splits = source.binarized(Splits(*(part.x for part in parts)))

    def tensors(self, split: str) -> tuple[Tensor, ...]:
        """Return the values of a split, then its conditions and its mask, as far as there are any."""
        place = SPLITS.index(split)
        every = self.splits[place], self.conditions[place], self.observed[place]
        return tuple(each for each in every if each is not None)

    def rows(self, split: str) -> Tensor:
        """Return the rows of a split for evaluation: see `DataModule.rows`."""
        x, *others = self.tensors(split)
        x = fixed_draw(x, 0) if split == "train" and self.is_dynamic else x
        return x if self.spec.levels == 2 and not others else self.assembled(x, *others)

    def assembled(self, x: Tensor, *others: Tensor) -> Tensor:
        """Return rows with shape (B, P + C): x scaled to [0, 1] and NaN where missing, then the conditions."""
        row = x.float() if self.spec.levels != LEVELS else x.float() / (LEVELS - 1)
        for each in others:
            row = torch.where(each, row, torch.nan) if each.dtype == torch.bool else row
        conditions = [each for each in others if each.dtype != torch.bool]
        return torch.cat([row, *conditions], 1) if conditions else row

    def statistics(self) -> Statistics:
        """Return the statistics of each value of the training data, as the model sees it."""
        scale = 255 if self.is_dynamic or self.spec.levels == LEVELS else 1
        return statistics_of(self.splits.train, self.observed[0], scale, is_binary=self.spec.levels == 2)


def _check_known(conditions: Sequence[Tensor], source: Source) -> None:
    """Refuse labels of other parts that no training data have, since a model cannot learn them.

    Raises:
        ValueError: for such labels.
    """
    train, others = conditions[0].any(0), torch.cat([*conditions[1:]]).any(0)
    if lost := [name for name, seen in zip(source.classes, train | ~others, strict=True) if not seen]:
        raise ValueError(f"dataset {source.name} has no training data with the label {', '.join(lost[:8])}")


def _condition(y: Tensor | None, size: int) -> Any:
    """Return labels as one-hot vectors, or real conditions, with shape (N, C); None if there are none.

    Raises:
        ValueError: for labels or conditions that are missing.
    """
    if y is None:
        return None
    missing = ~y.isfinite().view(len(y), -1).all(1) | (y.view(len(y), -1) < 0).all(1) & (not y.is_floating_point())
    if count := int(missing.sum()):
        what = "condition" if y.is_floating_point() else "label"
        raise ValueError(
            f"{count} of {len(y)} data have no {what}: semi-supervised training is not offered, so leave them out, or "
            f"train without {what}s"
        )
    return y.float() if y.is_floating_point() else one_hot(y.long(), size).float()
