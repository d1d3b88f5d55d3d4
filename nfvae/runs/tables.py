"""A table of numbers, and every format in which it is printed."""

import csv
import html
import io
import json
import re
import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rich.box import MARKDOWN
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

TEXT_WIDTH = 100  # characters per line if there is no terminal
_SHORTEST_NAME = 8  # characters per line in a folded name
_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}
    | {"<": "$<$", ">": "$>$", "|": "$|$", "\N{MINUS SIGN}": "$-$"}
)
_MARKDOWN = str.maketrans({"|": r"\|", "\\": r"\\", "<": "&lt;", "*": r"\*", "_": r"\_", "`": r"\`", "[": r"\["})


class Column(NamedTuple):
    """How to show one number of each row.

    Attributes:
        key: name of the number in the row.
        heading: heading, with the unit.
        digits: digits after the point; None for text.
        error: name of its standard error in the row.
        sign: -1 to show the number with its sign reversed.
        percent: whether to show a share in percent.
        meaning: explanation of the number.
        names: whether it distinguishes rows, as the estimator does.
        of: key of the column that decides whether a row has this number; for samples, that is the estimator.
        pooled: whether a comparison has its mean over runs.
        main: whether tables show it by default.
        lower: whether the lowest value is the best.
    """

    key: str
    heading: str
    digits: int | None = None
    error: str | None = None
    sign: int = 1
    percent: bool = False
    meaning: str = ""
    names: bool = False
    of: str | None = None
    pooled: bool = False
    main: bool = False
    lower: bool = False

    def cell(self, row: Mapping[str, Any]) -> str:
        """Return the text shown for a row; empty if the number is unknown."""
        value = row.get(self.key)
        if value is None:
            return ""
        if self.digits is None:
            return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value))
        digits = 0 if isinstance(value, int) else self.digits
        text = f"{value:.{self.digits}%}" if self.percent else f"{self.sign * value:,.{digits}f}"
        error = row.get(self.error) if self.error else None
        return text if error is None else f"{text} ± {error:.{self.digits}{'%' if self.percent else 'f'}}"

    def best(self, rows: Sequence[Mapping[str, Any]]) -> list[int]:
        """Return the indices of the rows with the lowest number as shown; none if the lowest is not the best."""
        known = {place: self.sign * row[self.key] for place, row in enumerate(rows) if row.get(self.key) is not None}
        shown = {place: round(value, self.digits) for place, value in known.items()} if self.lower else {}
        return [place for place, value in shown.items() if value == min(shown.values())]


class Table:
    """Rows of numbers by name, and the columns to show.

    Args:
        rows: numbers by name; None if unknown.
        columns: columns to show; the first one names the row, and those without a value are left out.
        chosen: whether the user chose the columns. Then no other number is shown, and a column stays even if all rows
            share its value.
        caption: caption of a LaTeX table, in which the best numbers are bold; empty for a tabular alone.
    """

    def __init__(
        self, rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], chosen: bool = False, caption: str = ""
    ) -> None:
        self.rows, self.chosen, self.caption = [dict(row) for row in rows], chosen, caption
        self.columns = [column for column in columns if any(row.get(column.key) is not None for row in rows)]

    def render(self, form: str) -> str:
        """Return the table in a format of `FORMATS`."""
        return FORMATS[form](self)

    def cells(self) -> list[list[str]]:
        """Return the headings and a line of cells for each row."""
        body = [[column.cell(row) for column in self.columns] for row in self.rows]
        return [[column.heading for column in self.columns], *body]

    def shared_and_telling(self) -> tuple[str, "Table"]:
        """Return as text the values that all rows (or all of an estimator) share, and a table of the other columns."""
        if self.chosen or len(self.rows) < 2:
            return "", self
        words, telling = [], self.columns[:1]
        for column in self.columns[1:]:
            owners = [str(row.get(column.of)) if column.of else "" for row in self.rows]
            cells = {*zip(owners, map(column.cell, self.rows), strict=True)}
            if len(cells) > len({*owners}):
                telling.append(column)
            elif len({cell for _, cell in cells}) == 1:
                words.append(f"{column.heading} {column.cell(self.rows[0])}")
            else:
                words += [f"{column.heading} {cell} ({owner})" for owner, cell in sorted(cells) if cell]
        return "; ".join(words), Table(self.rows, telling)

    def text(self, width: int | None = None) -> str:
        """Return the table as text: shared values first, then the rows, split into blocks if they are too wide.

        Every block begins with the columns that distinguish the rows.

        Args:
            width: characters per line; by default those of the terminal, or 100 without a terminal.
        """
        width = width or _terminal_width()
        caption, table = self.shared_and_telling()
        cells = dict(zip(table.columns, zip(*table.cells(), strict=True), strict=True))
        first = table.columns[0]
        names = [column for column in cells if column is first or (column.names and len({*cells[column][1:]}) > 1)]
        others = [column for column in cells if column not in names]
        beside = _width([cells[name] for name in names[1:]])
        if _width([*cells.values()]) > width and _width([cells[name] for name in names]) > 2 * width // 3:
            widest = max((_width([cells[column]]) for column in others), default=0)
            room = min(width // 2, width - widest - 2) - beside
            cells[first] = tuple(_folded(cell, max(room, _SHORTEST_NAME)) for cell in cells[first])
        blocks = [[*cells] if _width([*cells.values()]) <= width else [*names]]
        for column in others if len(blocks[0]) < len(cells) else []:
            if len(blocks[-1]) > len(names) and _width([cells[each] for each in [*blocks[-1], column]]) > width:
                blocks.append([*names])
            blocks[-1].append(column)
        parts = [paragraph(f"in every row: {caption}", width)] if caption else []
        return "\n\n".join([*parts, *(_aligned([cells[column] for column in block]) for block in blocks)])

    def markdown(self) -> str:
        """Return a Markdown table."""
        head, *body = ([cell.translate(_MARKDOWN) for cell in line] for line in self.cells())
        lines = [head, ["---"] * len(head), *body]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def latex(self) -> str:
        """Return a LaTeX tabular for the package booktabs, inside a table if there is a caption."""
        shared, table = self.shared_and_telling()
        cells = [[_latex(cell) for cell in line] for line in table.cells()]
        for place, column in enumerate(table.columns if self.caption else []):
            for row in column.best(self.rows):
                cells[1 + row][place] = rf"\textbf{{{cells[1 + row][place]}}}"
        head, *body = (" & ".join(line) + r" \\" for line in cells)
        begin = rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}"
        lines = [begin, r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
        if self.caption:
            caption = rf"\caption{{{_latex(self.caption)}}}"
            lines = [r"\begin{table}", r"\centering", caption, *lines, r"\end{table}"]
        notes = [f"% in every row: {shared}"] if shared else []
        return "\n".join([r"% needs \usepackage{booktabs}", *notes, *lines])

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
        """Return the rows; if the user chose columns, only these and their errors."""
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


def as_records(vectors: Any, columns: Sequence[str]) -> list[dict[str, float]]:
    """Return float32 vectors with shape (N, D) as rows of a table, with the seven digits that float32 has."""
    return [{name: float(f"{value:.7g}") for name, value in zip(columns, row, strict=True)} for row in vectors.tolist()]


def paragraph(text: str, width: int | None = None) -> str:
    """Wrap prose to `width`, by default that of the terminal, and to at most 100 characters."""
    return textwrap.fill(text, min(width or _terminal_width(), TEXT_WIDTH), break_on_hyphens=False)


def _terminal_width() -> int:
    return shutil.get_terminal_size((TEXT_WIDTH, 0)).columns


def _latex(cell: str) -> str:
    minus = re.sub(r"(^| )-(?=[\d A-Z])", "\\1\N{MINUS SIGN}", cell)
    return minus.replace("k̂", "\0").translate(_LATEX).replace("\0", r"$\hat k$")


def _width(columns: Sequence[Sequence[str]]) -> int:
    return sum(max(map(_columns_of, column)) + 3 for column in columns) + 1


def _columns_of(cell: str) -> int:
    """Return the width of a cell in terminal columns: the hat of k̂ takes none, a Chinese character two."""
    return max(map(cell_len, cell.split("\n")))


def _folded(name: str, room: int) -> str:
    """Break a name into lines of at most `room` characters, after a separator unless that wastes half a line."""
    lines = []
    while len(name) > room:
        cut = max(name.rfind(separator, 0, room) for separator in "/-_ ") + 1
        lines.append(name[: cut if 2 * cut > room else room])
        name = name[len(lines[-1]) :]
    return "\n".join([*lines, name])


def _aligned(columns: Sequence[Sequence[str]]) -> str:
    """Lay out columns, the first one (names) left-aligned, whatever the terminal's width."""
    grid = Grid(box=MARKDOWN)
    for place, (heading, *_) in enumerate(columns):
        grid.add_column(Text(heading), justify="right" if place else "left", no_wrap=True)
    for cells in zip(*(column[1:] for column in columns), strict=True):
        grid.add_row(*map(Text, cells))
    console = Console(width=_width(columns), color_system=None, force_jupyter=False, legacy_windows=False)
    with console.capture() as printed:
        console.print(grid)
    return printed.get().strip()
