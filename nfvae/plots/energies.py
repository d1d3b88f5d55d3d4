"""Pictures of unnormalized densities and the flows that were fitted to them."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nfvae.flows import FlowDistribution
from nfvae.plots.canvas import headline, new_figure, plane, square_grid, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_REACH = 4.5  # of the axes
_SIDE = 200


@styled
@torch.no_grad()
def energies_figure(
    targets: Mapping[str, Callable[[Tensor], Tensor]],
    densities: Mapping[str, Mapping[str, FlowDistribution]],
    title: str = "",
) -> "Figure":
    """Draw log-densities of the plane, one row each, beside the flows that were fitted to them.

    Args:
        targets: log-densities by name, up to constants.
        densities: fitted flows by their name, for each target.
        title: figure title.
    """
    names = list(dict.fromkeys(name for each in densities.values() for name in each))
    figure = new_figure(1.8 * (1 + len(names)) + 0.4, 1.8 * len(targets) + 0.7, "compressed")
    panels = figure.subplots(len(targets), 1 + len(names), squeeze=False)
    grid, extent = square_grid(torch.full((2,), -_REACH), torch.full((2,), _REACH), _SIDE)
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[], frame_on=False, aspect="equal")
    for row, (target, log_density) in zip(panels, targets.items(), strict=True):
        row[0].set_ylabel(target)
        values = {"": log_density(grid), **{name: each.log_prob(grid) for name, each in densities[target].items()}}
        for axes, name in zip(row, ["", *names], strict=True):
            if name in values:
                axes.imshow(plane((values[name] - values[name].max()).exp(), _SIDE), origin="lower", extent=extent)
    for axes, name in zip(panels[0], ["target", *names], strict=True):
        axes.set_title(name)
    figure.supxlabel(f"both axes from {-_REACH:g} to {_REACH:g}", fontsize=10)
    headline(figure, title)
    return figure
