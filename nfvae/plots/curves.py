"""Pictures of several runs: how they learned, and how they differ."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from nfvae.plots.canvas import new_figure, styled, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BOUNDS = ("elbo", "iwae")  # drawn with their sign turned, as tables show them


@styled
def learning_curves(
    histories: Mapping[str, Sequence[Sequence[Mapping[str, float]]]], metric: str = "val/elbo", title: str = ""
) -> "Figure":
    """Draw a metric over epochs, a line for each run and a color for each experiment; of a bound the negative.

    Args:
        histories: the epochs' metrics of each run, by the experiment's name.
        metric: what is drawn.
        title: of the picture.
    """
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(7, 4.6)
    axes = figure.add_subplot(title=title)
    split, _, name = metric.partition("/")
    sign = -1 if name in _BOUNDS else 1
    for place, (experiment, runs) in enumerate(histories.items()):
        for number, history in enumerate(runs):
            epochs = [int(row["epoch"]) + 1 for row in history if metric in row]
            values = [sign * row[metric] for row in history if metric in row]
            label = None if number else wrapped(experiment)
            axes.plot(epochs, values, color=f"C{place % 10}", label=label, lw=1.2, marker=".", ms=4)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epochs")
    shown = {"elbo": "-ELBO", "iwae": "-IWAE bound", "nll": "NLL"}.get(name, name)
    axes.set_ylabel(f"{shown}, {split} set, nats")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled
def difference_figure(
    differences: Mapping[str, Tensor], baseline: str, colors: Sequence[str] = (), over_seeds: Sequence[float] = ()
) -> "Figure":
    """Draw how the NLL of every image differs from a baseline's, with the mean and its standard errors.

    Args:
        differences: NLL minus the baseline's with shape (N,), in nats, by the experiment's name.
        baseline: the baseline's name.
        colors: of the experiments, in their order; by default one for all.
        over_seeds: standard errors of the means over seeds, in the same order; NaN for a single seed.
    """
    figure = new_figure(7, 0.7 * len(differences) + 1.6)
    axes = figure.add_subplot()
    shapes = axes.violinplot(
        [each.numpy() for each in differences.values()], orientation="horizontal", showextrema=False
    )
    for shape, color in zip(shapes["bodies"], colors, strict=False):  # type: ignore[call-overload]
        shape.set_color(color)
    for place, values in enumerate(differences.values(), start=1):
        error = float(values.std()) / len(values) ** 0.5
        axes.errorbar(float(values.mean()), place, xerr=error, fmt="o", color="black", capsize=4, ms=4)
    several = [(place, error) for place, error in enumerate(over_seeds) if not math.isnan(error)]
    for place, error in several:
        mean = float(list(differences.values())[place].mean())
        axes.errorbar(mean, place + 1, xerr=error, color="gray", lw=4, alpha=0.6, zorder=0)
    axes.axvline(0, color="gray", lw=1)
    axes.invert_yaxis()
    axes.set_yticks(range(1, len(differences) + 1), [wrapped(name) for name in differences])
    thick = "; thick: over seeds" if several else ""
    axes.set_xlabel(f"NLL of an image - that under {baseline}, nats\n(dot: mean; thin: ± over images{thick})")
    return figure
