"""Data sets that come with scikit-learn."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from nfvae.data.batches import Part, Splits
from nfvae.data.columns import split_columns
from nfvae.data.datasets import Dataset, ImageDataset
from nfvae.models import DataSpec


class Digits(ImageDataset):
    """1,797 digits of 8x8 pixels and 17 gray levels; of every seven, the last two are for validation and test."""

    shape = (8, 8)
    classes = tuple("0123456789")

    @override
    def read(self, root: Path, download: bool) -> Splits:
        """Read the digits from the installed package."""
        from sklearn.datasets import load_digits

        content = load_digits()
        images = torch.from_numpy(np.rint(content.data * (255 / 16)).astype(np.uint8))
        return every_seventh(images, torch.from_numpy(content.target) if self.labels else None)


def every_seventh(x: Tensor, y: Tensor | None = None) -> Splits:
    """Split data with shape (N, P): of every seven, the last two are for validation and test."""
    turn = torch.arange(len(x)) % 7
    whole = x if y is None else Part(x, y)
    return Splits(whole[turn < 5], whole[turn == 5], whole[turn == 6])


class Table(Dataset):
    """A table of real numbers, mixed in a fixed order; of every seven rows, the last two are for validation and test.

    Attributes:
        name: name of the function in `sklearn.datasets`, without `load_`.
    """

    has_columns = True
    name: ClassVar[str]

    @cached_property
    def _content(self) -> Any:
        from sklearn import datasets

        return getattr(datasets, f"load_{self.name}")()

    @override
    def find_spec(self, root: Path) -> DataSpec:
        values, _ = self._columns()
        return DataSpec((len(values),), None)

    @override
    def find_columns(self, root: Path) -> list[str]:
        return [self._content.feature_names[place] for place in self._columns()[0]]

    def _columns(self) -> tuple[list[int], list[int]]:
        return split_columns(self._content.feature_names, self.condition, self.name)

    @override
    def find_classes(self, root: Path) -> Sequence[str]:
        return [str(name) for name in getattr(self._content, "target_names", [])]

    @override
    def read(self, root: Path, download: bool) -> Splits:
        """Read the table from the installed package."""
        order = torch.randperm(len(self._content.data), generator=torch.Generator().manual_seed(0))
        table, (values, conditions) = torch.from_numpy(self._content.data).float()[order], self._columns()
        if conditions:
            return every_seventh(table[:, values], table[:, conditions])
        return every_seventh(table[:, values], torch.from_numpy(self._content.target)[order] if self.labels else None)


class Wine(Table):
    """178 wines, 13 measurements each, of three cultivars."""

    name = "wine"


class BreastCancer(Table):
    """569 tumors, 30 measurements each, malignant or benign."""

    name = "breast_cancer"


class Iris(Table):
    """150 irises, 4 measurements each, of three species."""

    name = "iris"


class Diabetes(Table):
    """442 patients, 10 measurements each, without labels."""

    name = "diabetes"
