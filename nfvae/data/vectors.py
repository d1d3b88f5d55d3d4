"""Your own vectors, from a table, a file of arrays, or one file per part."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.data.batches import Part, Splits
from nfvae.data.columns import check_columns, check_named, report_columns, split_columns
from nfvae.data.datasets import Dataset
from nfvae.data.files import ARRAY_ENDINGS, open_arrays
from nfvae.data.labels import as_classes, check_whole, class_names
from nfvae.data.parts import RandomSplit, find_parts, sorted_names
from nfvae.data.tables import ENDINGS, Table, label_column, read_table
from nfvae.models import DataSpec


class Vectors(Dataset):
    """Read vectors of real numbers: a .csv, .tsv or .parquet table, or a .npz, .npy or .pt file of arrays (N, D).

    The root is a file, or a folder with a table for each part, such as train.csv and test.csv. In a file of arrays the
    parts and their labels are named as for `arrays`. A missing part, test or validation, is drawn from the training
    part; a single table is split into all parts. Missing values are empty, NaN or NA. A .parquet file needs pyarrow or
    pandas.

    Args:
        columns: names of the columns to use, in this order; None for all.
        split: shares of the training, validation and test parts, if they are drawn.
        split_seed: random seed of the split.

    Raises:
        ValueError: for shares that do not add up to 1.
    """

    is_root, has_columns = True, True

    def __init__(
        self, columns: Sequence[str] | None = None, split: Sequence[float] = (0.8, 0.1, 0.1), split_seed: int = 0
    ) -> None:
        if not isinstance(columns, list | tuple | None) or columns == []:
            raise ValueError(f"columns takes a list of names; got {columns!r}")
        self.columns: Sequence[str] | None = columns
        self.split = RandomSplit(split, split_seed)
        self.is_training = True
        self.names: list[str] = []
        self.values: list[str] = []
        self.parts: dict[str, Part] = {}

    @override
    def find_spec(self, root: Path) -> DataSpec:
        parts = self._read_once(root).values()
        missing = any(bool(part.x.isnan().any()) for part in parts)
        return DataSpec((next(iter(parts)).x.shape[1],), None, missing=missing)

    @override
    def find_columns(self, root: Path) -> list[str]:
        self._read_once(root)
        return self.values

    @override
    def find_classes(self, root: Path) -> list[str]:
        self._read_once(root)
        return self.names

    @override
    def read(self, root: Path, download: bool) -> Splits:
        """Return the parts of the file or folder that is the data root, and report odd columns."""
        parts = self._read_once(root)
        report_columns(torch.cat([part.x for part in parts.values()]), self.values, root)
        return self.split.complete(parts, root)

    def read_parts(self, root: Path, columns: Sequence[str]) -> dict[str, Part]:
        """Read data for a trained model, with the named columns; arrays must have as many."""
        self.is_training = False
        self.columns = columns if root.suffix.lower() not in ARRAY_ENDINGS else None
        return self._read_once(root)

    def _read_once(self, root: Path) -> dict[str, Part]:
        """Return the parts by name, NaN where values are missing; a single table is the part ""."""
        if not self.parts:
            if root.suffix.lower() in ARRAY_ENDINGS:
                self._read_arrays(root)
            else:
                self._read_tables(_tables(root), root)
        return self.parts

    def _read_arrays(self, root: Path) -> None:
        arrays = open_arrays(root)
        values, labels, masks = sorted_names([*arrays], root) if len(arrays) > 1 else ({"": next(iter(arrays))}, {}, {})
        if masks:
            raise ValueError(f"{root} holds {', '.join(masks.values())}: missing values of vectors are NaN, not a mask")
        found = {part: _real(arrays[name].read(), root) for part, name in values.items()}
        for part, x in found.items():
            if x.ndim != 2 or not x.numel():
                source = f"{values[part]} of {root}" if values[part] else root
                raise ValueError(f"{source} should hold vectors, shape (N, D); got {tuple(x.shape)}")
        if len({x.shape[1] for x in found.values()}) > 1:
            raise ValueError(f"the parts of {root} hold vectors of different sizes")
        own = {part: arrays[name].read() for part, name in labels.items()} if self.labels else {}
        self.names = class_names(list(own.values()))
        columns = [f"x{place}" for place in range(next(iter(found.values())).shape[1])]
        y = {part: as_classes(each, self.names, labels[part]) for part, each in own.items()}
        self._keep(found, columns, y, root)

    def _read_tables(self, tables: Mapping[str, Table], root: Path) -> None:
        first, y = next(iter(tables.values())), {}
        for table in tables.values():
            if lost := [name for name in first.columns if name not in table.columns]:
                raise ValueError(f"{table.source} has no column {', '.join(lost)}, which {first.source} has")
        names = [*first.columns]
        if self.labels and (label := label_column(first, self.labels, self.is_training)):
            names.remove(label)
            texts = {part: table.texts(label) for part, table in tables.items()}
            self.names = sorted({text for each in texts.values() for text in each if text is not None}, key=_in_order)
            check_whole(self.names, f"column {label} of {first.source}")
            known = {name: place for place, name in enumerate(self.names)} | {None: -1}
            y = {part: torch.tensor([known[text] for text in each]) for part, each in texts.items()}
        check_named(self.columns or (), names, root)
        columns = [*(self.columns or names)]
        columns += [name for name in self.condition if name not in columns and name in names]
        self._keep({part: table.numbers(columns) for part, table in tables.items()}, columns, y, root)

    def _keep(self, found: Mapping[str, Tensor], names: Sequence[str], y: Mapping[str, Tensor], root: Path) -> None:
        """Keep parts of float64 numbers with shape (N, columns), and their classes."""
        values, conditions = split_columns(names, self.condition, root)
        self.values = [names[place] for place in values]
        check_columns(torch.cat([x[:, values] for x in found.values()]), self.values, root, self.is_training)
        for part, x in found.items():
            given = x[:, conditions] if conditions else y.get(part)
            self.parts[part] = Part(x[:, values].float(), given)


def _real(values: Tensor, root: Path) -> Tensor:
    if values.is_complex():
        raise ValueError(f"{root} holds complex numbers")
    return values.double()


def _in_order(name: str) -> tuple[int, str]:
    """Return a key that sorts whole numbers by size, before other names."""
    return (int(name), name) if name.isdigit() else (10**18, name)


def _tables(root: Path) -> dict[str, Table]:
    """Read the tables of a file, or of the files of parts in a folder."""
    if root.is_dir():
        files = {path.stem: path for path in sorted(root.iterdir()) if path.suffix.lower() in ENDINGS}
        parts = find_parts(files, root)
        if not parts:
            raise ValueError(f"{root} holds no table of a part; expected train and at least one of val and test")
        return {part: read_table(files[name]) for part, name in parts.items()}
    if not root.is_file():
        raise ValueError(f"there is no file {root}; expected a table ({', '.join([*ENDINGS, *ARRAY_ENDINGS])})")
    if root.suffix.lower() not in ENDINGS:
        raise ValueError(f"cannot read {root}: expected one of {', '.join([*ENDINGS, *ARRAY_ENDINGS])}")
    return {"": read_table(root)}
