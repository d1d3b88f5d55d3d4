"""Pictures of vectors: the columns of data beside those of a model."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nfvae.plots.canvas import headline, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_COLUMNS, _IN_A_ROW = 16, 4  # panels
_FEWEST_BINS, _BINS = 8, 40
_MOST_POINTS = 2_000
_STYLES: tuple[dict[str, Any], ...] = (
    {"color": "lightgray"},
    {"histtype": "step", "color": "tab:blue", "lw": 1.5},
    {"histtype": "step", "color": "tab:orange", "lw": 1.5},
)


@styled
def marginals_figure(samples: Mapping[str, Tensor], names: Sequence[str], title: str = "") -> "Figure":
    """Draw a histogram of each column for the data and for samples of a model.

    Args:
        samples: up to three sets of vectors with shape (N, D), by name, the data first; NaN is left out.
        names: names of the columns; the first 16 are drawn.
        title: figure title.
    """
    figure, panels = _grid(names)
    first = next(iter(samples.values()))
    low, high = (torch.nanquantile(first.float(), share, 0) for share in (0.001, 0.999))
    bins = max(_FEWEST_BINS, min(_BINS, int(len(first) ** 0.5)))
    for place, (axes, name) in enumerate(zip(panels, names, strict=False)):
        reach = (high[place] - low[place]).clamp_min(1e-12)
        columns = [vectors[:, place].cpu() for vectors in samples.values()]
        columns = [column[~column.isnan()] for column in columns]
        low_end = max(float(low[place] - 0.1 * reach), min(float(column.min()) for column in columns))
        high_end = min(float(high[place] + 0.1 * reach), max(float(column.max()) for column in columns))
        ends = low_end, max(high_end, low_end + 1e-12)
        for label, column, style in zip(samples, columns, _STYLES, strict=False):
            axes.hist(column.numpy(), bins=bins, range=ends, density=True, label=label, **style)
        axes.set_xlabel(name)
        axes.set_yticks([])
        axes.locator_params(axis="x", nbins=3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    headline(figure, _with_left_out(title, names))
    return figure


@styled
def scatter_figure(x: Tensor, y: Tensor, names: Sequence[str], labels: tuple[str, str], title: str = "") -> "Figure":
    """Draw each column of y over the same column of x, both with shape (N, D), with the line y = x.

    Args:
        x: vectors on the horizontal axis.
        y: vectors on the vertical axis.
        names: names of the columns; the first 16 are drawn.
        labels: labels of the two axes.
        title: figure title.
    """
    figure, panels = _grid(names)
    x, y = x[:_MOST_POINTS].cpu(), y[:_MOST_POINTS].cpu()
    for place, (axes, name) in enumerate(zip(panels, names, strict=False)):
        axes.plot(x[:, place].numpy(), y[:, place].numpy(), ".", ms=3, color="tab:blue")
        axes.axline((float(x[:, place].nanmean()),) * 2, slope=1, color="black", lw=0.8)
        both = torch.cat([x[:, place], y[:, place]])
        ends = [float(end) for end in torch.nanquantile(both, both.new_tensor([0.0, 1.0]))]
        axes.set(xlim=ends, ylim=ends) if ends[0] < ends[1] else None
        axes.set_title(name, fontsize=9)
        axes.locator_params(nbins=3)
    figure.supxlabel(labels[0], fontsize=10)
    figure.supylabel(labels[1], fontsize=10)
    headline(figure, _with_left_out(title, names))
    return figure


def _grid(names: Sequence[str]) -> tuple["Figure", Sequence[Any]]:
    """Return a figure with a panel for each column."""
    count = min(len(names), _MOST_COLUMNS)
    columns = min(count, _IN_A_ROW)
    rows = -(-count // columns)
    figure = new_figure(max(2.4 * columns, 4.8), 2.0 * rows + 0.8)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels[count:]:
        axes.set_axis_off()
    return figure, panels


def _with_left_out(title: str, names: Sequence[str]) -> str:
    left_out = len(names) - _MOST_COLUMNS
    return title + (f" (the first {_MOST_COLUMNS} of {len(names)} columns)" if left_out > 0 else "")
