"""Tables of numbers and labels from files."""

import csv
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

_TEXT = {".csv": ",", ".tsv": "\t"}
ENDINGS = (*_TEXT, ".parquet")
_OTHERS = (";", "\t", "|")  # separators of tables that are not read
_MISSING = {"", "na", "n/a", "nan", "null", "none", "?"}  # spellings of a missing value
_LABEL_NAMES = ("label", "labels", "class", "target")  # columns that `labels: true` may mean


class Table(NamedTuple):
    """A table with named columns.

    Attributes:
        columns: columns by name, each a sequence of N numbers or texts; None or NaN where missing.
        source: path of the file.
    """

    columns: Mapping[str, Sequence[Any]]
    source: Path

    def numbers(self, names: Sequence[str]) -> Tensor:
        """Return some columns as float64 with shape (N, D), NaN where missing.

        Raises:
            ValueError: for a column with text.
        """
        return torch.from_numpy(np.stack([self._numbers(name) for name in names], 1))

    def _numbers(self, name: str) -> Any:
        values = self.columns[name]
        try:
            return np.asarray(values, np.float64)
        except (ValueError, TypeError):
            pass
        numbers = np.empty(len(values), np.float64)
        for place, value in enumerate(values):
            try:
                numbers[place] = np.nan if _is_missing(value) else float(value)
            except (ValueError, TypeError):
                remedy = (
                    "write decimal numbers with a point"
                    if _is_number(str(value).replace(",", "."))
                    else f"make it the labels (--data.labels {name}), or name the columns to use "
                    "(--data.dataset_options.columns [...])"
                )
                raise ValueError(f"column {name} of {self.source} holds text, as {value!r:.40}: {remedy}") from None
        return numbers

    def texts(self, name: str) -> list[str | None]:
        """Return a column as texts, None where missing; whole numbers have no decimal point."""
        return [None if _is_missing(value) else _text(value) for value in self.columns[name]]


def label_column(table: Table, labels: bool | str, needed: bool = True) -> str | None:
    """Return the name of the column of labels; None if there is none and none is needed.

    Raises:
        ValueError: if there is no such column, and it is needed.
    """
    wanted = [labels] if isinstance(labels, str) else _LABEL_NAMES
    found = next((name for name in wanted if name in table.columns), None)
    if found is None and needed:
        held = ", ".join(islice(table.columns, 20))
        raise ValueError(
            f"{table.source} has no column {' or '.join(wanted)} for the labels; it has {held}: give --data.labels NAME"
        )
    return found


def read_table(path: Path) -> Table:
    """Read a .csv, .tsv or .parquet file.

    Columns of a text file without a header are x0, x1 and so on.

    Raises:
        ValueError: for a file that is damaged, has rows of different lengths or repeated names, or that needs a package
            that is not installed.
        OSError: for a file that cannot be read.
    """
    if path.suffix.lower() == ".parquet":
        return Table(_read_parquet(path), path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file, delimiter=_TEXT[path.suffix.lower()]) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        hint = ": save it as UTF-8" if isinstance(error, UnicodeDecodeError) else ""
        raise ValueError(f"cannot read {path}: {error}{hint}") from error
    if not rows:
        raise ValueError(f"{path} is empty; expected rows of numbers")
    _check_separator(rows[0], path)
    is_header = any(not (_is_missing(cell) or _is_number(cell)) for cell in rows[0])
    if is_header and len(rows) == 1:
        raise ValueError(f"{path} holds names of columns, but no rows")
    names = [cell.strip() for cell in rows.pop(0)] if is_header else [f"x{place}" for place in range(len(rows[0]))]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path} has several columns named {', '.join(repeated)}")
    for line, row in enumerate(rows, 1 + is_header):
        if len(row) != len(names):
            raise ValueError(f"line {line} of {path} has {len(row)} cells; expected {len(names)}")
    return Table(dict(zip(names, zip(*rows, strict=True), strict=True)), path)


def _check_separator(cells: Sequence[str], path: Path) -> None:
    """Refuse a line in one cell that another character seems to separate."""
    separator = next((each for each in _OTHERS if len(cells) == 1 and each in cells[0]), None)
    if separator and separator != _TEXT[path.suffix.lower()]:
        expected = "commas, or tabs if it is a .tsv, and a point in decimal numbers"
        raise ValueError(f"the cells of {path} seem to be separated by {separator!r}; expected {expected}")


def _read_parquet(path: Path) -> dict[str, Sequence[Any]]:
    package = next((name for name in ("pyarrow", "pandas") if find_spec(name)), None)
    if package is None:
        raise ValueError(f"reading {path} needs pyarrow: pip install pyarrow, or save the table as .csv")
    try:
        if package == "pyarrow":
            content = import_module("pyarrow.parquet").read_table(path)
            return {str(name): content.column(name).to_pylist() for name in content.column_names}
        frame = import_module("pandas").read_parquet(path)
        return {str(name): frame[name].tolist() for name in frame.columns}
    except OSError:
        raise
    except Exception as error:  # any error of the reader
        raise ValueError(f"cannot read {path}: {' '.join(str(error).split())[:200]}") from error


def _is_missing(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str) and value.strip().lower() in _MISSING)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _text(value: Any) -> str:
    text = str(value).strip()
    return str(int(float(text))) if _is_number(text) and float(text).is_integer() else text
