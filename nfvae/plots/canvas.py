"""The style of all pictures; matplotlib is imported when the first one is drawn."""

import io
import textwrap
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

_LONGEST_NAME = 32  # letters in a line of a legend or beside an axis
_LETTERS = 11  # letters of a title per inch
_LINES, _MARKERS = ("-", "--", ":", "-."), "os^DvP*"
_Given = ParamSpec("_Given")
STYLE: Any = {
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "figure.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.constrained_layout.h_pad": 0.1,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.08,
}
"""Matplotlib settings, readable at half the size."""


def styled(draw: Callable[_Given, "Figure"]) -> Callable[_Given, "Figure"]:
    """Make a function draw in the style of all pictures."""

    @wraps(draw)
    def in_style(*args: _Given.args, **kwargs: _Given.kwargs) -> "Figure":
        from matplotlib import rc_context

        with rc_context(STYLE):
            return draw(*args, **kwargs)

    return in_style


def rendered(figure: "Figure", form: str) -> bytes:
    """Return the bytes of a picture in a file format, with all its text and no empty margin."""
    from matplotlib import rc_context

    buffer = io.BytesIO()
    with rc_context(STYLE):  # ticks are made when they are drawn
        figure.savefig(buffer, format=form)
    return buffer.getvalue()


def new_figure(width: float, height: float, layout: str | None = "constrained") -> "Figure":
    """Return an empty figure of a size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, layout=layout)  # type: ignore[arg-type]


def headline(figure: "Figure | SubFigure", text: str) -> None:
    """Write the title of a figure, wrapped to its width."""
    figure.suptitle(fitted(figure, text))


def fitted(figure: "Figure | SubFigure", text: str) -> str:
    """Return a title, wrapped to the width of its figure."""
    most = int(_LETTERS * figure.get_figure(root=True).get_figwidth())
    return "\n".join(part for line in text.splitlines() for part in textwrap.wrap(line, most))


def line_style(place: int) -> dict[str, Any]:
    """Return the style of a line by its index in the legend; 28 lines differ even without colors."""
    return {"color": f"C{place % 10}", "ls": _LINES[place % len(_LINES)], "marker": _MARKERS[place % len(_MARKERS)]}


def wrapped(name: str) -> str:
    """Wrap a name to lines that fit a legend or an axis."""
    return textwrap.fill(name, _LONGEST_NAME)


def of_vectors(figure: "Figure") -> "Figure":
    """Replace the word image in all texts of a figure by vector."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_text(text.get_text().replace("image", "vector"))
    return figure


def plane(values: Tensor, side: int) -> Tensor:
    """Reshape values on a square grid for `imshow`, with the first coordinate to the right."""
    return values.view(side, side).T.cpu()


def square_grid(low: Tensor, high: Tensor, side: int) -> tuple[Tensor, Sequence[float]]:
    """Return the points of a grid with shape (side^D, D), and its extent for `imshow`."""
    ends = list(zip(low.tolist(), high.tolist(), strict=True))
    grid = torch.cartesian_prod(*(torch.linspace(*pair, side) for pair in ends))
    return grid.view(-1, len(ends)), [end for pair in ends for end in pair]
