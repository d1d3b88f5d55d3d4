"""An empty figure in the style of all pictures; matplotlib is imported when the first one is drawn."""

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALL_TYPE = 7


def new_figure(width: float, height: float, layout: str | None = "constrained") -> "Figure":
    """Return an empty figure of a size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, layout=layout)  # type: ignore[arg-type]


def plane(values: Tensor, side: int) -> Tensor:
    """Turn values on the points of a square grid into what `imshow` takes, the first coordinate to the right."""
    return values.view(side, side).T.cpu()
