"""The metrics of a training: metrics.csv with a row per epoch, steps.csv with a row every few steps."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from nfvae.runs.files import write_whole

Row = Mapping[str, float]


class MetricFile:
    """A CSV file of numbers that grows row by row.

    Nothing is read or written before the first row, so a refused training changes nothing.

    Args:
        path: the file.
        steps: steps that a resumed training has done; later rows are dropped.
        by_line: whether to append each row, of which a kill may leave half, instead of replacing the whole file.
    """

    def __init__(self, path: Path, steps: int = 0, by_line: bool = False) -> None:
        self.path, self.steps, self.by_line = path, steps, by_line
        self.rows: list[Row] = []
        self.names: list[str] = []

    def append(self, row: Row) -> None:
        """Add a row of numbers by name, which include `step`."""
        if not self.rows and self.steps:
            self.rows = [earlier for earlier in read_rows(self.path, self.by_line) if earlier["step"] <= self.steps]
        self.rows.append(row)
        if self.by_line and row.keys() <= set(self.names):
            with self.path.open("a") as file:
                file.write(_lines([row], self.names))
        else:
            self.names = list(dict.fromkeys(name for each in self.rows for name in each))
            write_whole(self.path, ",".join(self.names) + "\n" + _lines(self.rows, self.names))


def read_rows(path: Path, by_line: bool = False) -> list[dict[str, float]]:
    """Read a file of metrics; no rows if it does not exist.

    Args:
        path: the file.
        by_line: whether rows were appended; then a last line that was cut off is ignored.

    Raises:
        ValueError: if the file is damaged.
    """
    if not path.is_file():
        return []
    try:
        whole, newline, cut = path.read_text().rpartition("\n")
        if not newline or (cut and not by_line):
            raise ValueError("its last line is cut off")
        head, *lines = csv.reader(whole.splitlines(), strict=True)
        rows = [{name: _number(name, value) for name, value in zip(head, line, strict=True) if value} for line in lines]
        if not all({"epoch", "step"} <= row.keys() for row in rows):
            raise ValueError("a row without epoch or step")
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path} is damaged ({error}); without it the run has no history") from error
    return rows


def _number(name: str, value: str) -> float:
    return int(value) if name in ("epoch", "step") else float(value)


def _lines(rows: Sequence[Row], names: Sequence[str]) -> str:
    out = io.StringIO()
    csv.DictWriter(out, names, lineterminator="\n").writerows(rows)
    return out.getvalue()
