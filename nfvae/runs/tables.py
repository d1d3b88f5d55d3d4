"""A table of numbers, laid out once for every form in which it is printed."""

import csv
import html
import io
import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

TEXT_WIDTH = 100  # characters of a line
_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}
    | {"<": "$<$", ">": "$>$", "|": "$|$"}
)
_MARKDOWN = str.maketrans({"|": r"\|", "\\": r"\\", "<": "&lt;", "*": r"\*", "_": r"\_", "`": r"\`", "[": r"\["})


class Column(NamedTuple):
    """How a number of a row is shown.

    Attributes:
        key: its name in the row.
        heading: with its unit.
        digits: after the point; None for text.
        error: name of its standard error in the row.
        sign: -1 where the number is shown with its sign turned.
        percent: whether a share is shown in percent.
        meaning: what the number says, in a sentence.
    """

    key: str
    heading: str
    digits: int | None = None
    error: str | None = None
    sign: int = 1
    percent: bool = False
    meaning: str = ""

    def cell(self, row: Mapping[str, Any]) -> str:
        """Return what is shown of a row; nothing where the number is not known."""
        value = row.get(self.key)
        if value is None:
            return ""
        if self.digits is None:
            return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value))
        digits = 0 if isinstance(value, int) else self.digits
        text = f"{value:.{self.digits}%}" if self.percent else f"{self.sign * value:,.{digits}f}"
        error = row.get(self.error) if self.error else None
        return text if error is None else f"{text} ± {error:.{self.digits}f}"


class Table:
    """Rows of numbers by name, and the columns of them that are shown.

    Args:
        rows: the numbers; None is what cannot be said.
        columns: what is shown, the first one naming the row; one that no row knows is left out.
        chosen: whether they were asked for: no other number is told, and each has its place in the text even where all
            rows share it.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], chosen: bool = False) -> None:
        self.rows, self.chosen = [dict(row) for row in rows], chosen
        self.columns = [column for column in columns if any(row.get(column.key) is not None for row in rows)]

    def render(self, form: str) -> str:
        """Lay the table out in a form of `FORMATS`."""
        return FORMATS[form](self)

    def cells(self) -> list[list[str]]:
        """Return the headings and a line of cells for each row."""
        body = [[column.cell(row) for column in self.columns] for row in self.rows]
        return [[column.heading for column in self.columns], *body]

    def shared_and_telling(self) -> tuple[str, "Table"]:
        """Return in words what all rows share, and the table of the other columns."""
        name, *others = self.columns
        several = len(self.rows) > 1 and not self.chosen
        shared = [each for each in others if several and len({each.cell(row) for row in self.rows}) == 1]
        words = "; ".join(f"{each.heading} {each.cell(self.rows[0])}" for each in shared)
        return words, Table(self.rows, [name, *(each for each in others if each not in shared)])

    def text(self) -> str:
        """Return lines of at most 100 characters: what all rows share comes first, and a wide table is cut."""
        caption, table = self.shared_and_telling()
        columns = list(zip(*table.cells(), strict=True))
        naming = 2 if len(set(columns[0])) < len(columns[0]) and len(columns) > 2 else 1
        names, telling = columns[:naming], columns[naming:]
        blocks: list[list[tuple[str, ...]]] = [list(names)]
        for column in telling:
            if len(blocks[-1]) > naming and _width([*blocks[-1], column]) > TEXT_WIDTH:
                blocks.append(list(names))
            blocks[-1].append(column)
        lines = ["\n".join(textwrap.wrap(f"in every row: {caption}", TEXT_WIDTH))] if caption else []
        return "\n\n".join([*lines, *map(_aligned, blocks)])

    def markdown(self) -> str:
        """Return a Markdown table."""
        head, *body = ([cell.translate(_MARKDOWN) for cell in line] for line in self.cells())
        lines = [head, ["---"] * len(head), *body]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def latex(self) -> str:
        """Return a LaTeX tabular."""
        head, *body = (" & ".join(map(_latex, line)) + r" \\" for line in self.cells())
        begin = rf"\begin{{tabular}}{{l{'r' * (len(self.columns) - 1)}}}"
        return "\n".join([begin, r"\hline", head, r"\hline", *body, r"\hline", r"\end{tabular}"])

    def html(self) -> str:
        """Return an HTML table."""
        head, *body = self.cells()
        lines = [f"<th>{'</th><th>'.join(map(html.escape, head))}</th>"]
        lines += [f"<td>{'</td><td>'.join(map(html.escape, line))}</td>" for line in body]
        return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"

    def csv(self) -> str:
        """Return every number of every row, unrounded."""
        out, rows = io.StringIO(), self._numbers()
        writer = csv.DictWriter(out, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue().rstrip()

    def json(self) -> str:
        """Return every number of every row, unrounded."""
        return json.dumps(self._numbers(), indent=2)

    def _numbers(self) -> list[dict[str, Any]]:
        """Return the rows, of chosen columns those with their errors alone."""
        names = [name for column in self.columns for name in (column.key, column.error) if name]
        return [{name: row.get(name) for name in names} for row in self.rows] if self.chosen else self.rows


FORMATS: dict[str, Callable[[Table], str]] = {
    "table": Table.text,
    "markdown": Table.markdown,
    "csv": Table.csv,
    "json": Table.json,
    "latex": Table.latex,
    "html": Table.html,
}


def _latex(cell: str) -> str:
    return cell.replace("k̂", "\0").translate(_LATEX).replace("\0", r"$\hat k$")


def _width(columns: Sequence[Sequence[str]]) -> int:
    return sum(max(map(_columns_of, column)) + 3 for column in columns) + 1


def _columns_of(cell: str) -> int:
    """Return how many columns of a terminal a cell takes: the hat of k̂ takes none."""
    return len(cell.replace("\u0302", ""))


def _aligned(columns: Sequence[Sequence[str]]) -> str:
    widths = [max(map(_columns_of, column)) for column in columns]
    first, *others = columns
    padded = [[cell + " " * (widths[0] - _columns_of(cell)) for cell in first]]
    for width, column in zip(widths[1:], others, strict=True):
        padded.append([" " * (width - _columns_of(cell)) + cell for cell in column])
    head, *body = (f"| {' | '.join(line)} |" for line in zip(*padded, strict=True))
    rule = f"|{'|'.join('-' * (width + 2) for width in widths)}|"
    return "\n".join([head, rule, *body])
