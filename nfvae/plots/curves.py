"""Pictures of several runs: learning curves, differences and gains."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from nfvae.plots.canvas import fitted, headline, line_style, new_figure, styled, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MANY, _FIRST = 50, 10  # epochs of a long run, whose first tenth may lie above the picture
_MARKED = 8  # points of a line that have a marker
_LONG = 180  # seconds; a longer training is shown in minutes
_SPLITS = {"train": "training", "val": "validation"}
_BOUNDS = ("elbo", "iwae")  # drawn with the opposite sign, as in tables


@styled
def learning_curves(
    histories: Mapping[str, Sequence[Sequence[Mapping[str, float]]]], metric: str = "val/elbo", title: str = ""
) -> "Figure":
    """Draw a metric over epochs and over time, one line per run, in the style of its experiment.

    A bound is drawn as -bound. The first epochs of a long run may lie above the picture.

    Args:
        histories: metrics of each run's epochs, by the experiment's name.
        metric: metric to draw.
        title: figure title.
    """
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(11, 4.6)
    by_epoch, by_time = figure.subplots(1, 2, sharey=True)
    headline(figure, title)
    sign = -1 if metric.partition("/")[2] in _BOUNDS else 1
    unit, seconds = _time_unit([history for runs in histories.values() for history in runs])
    shown: list[float] = []
    for place, (experiment, runs) in enumerate(histories.items()):
        for number, history in enumerate(runs):
            rows = [row for row in history if metric in row]
            epochs, values = [int(row["epoch"]) + 1 for row in rows], [sign * row[metric] for row in rows]
            label = None if number else wrapped(experiment)
            style = line_style(place) | {"lw": 1.2, "ms": 4, "markevery": max(1, len(rows) // _MARKED)}
            by_epoch.plot(epochs, values, label=label, **style)
            by_time.plot([_pace(history) / seconds * epoch for epoch in epochs], values, **style)
            shown += values[len(values) // _FIRST :] if len(values) >= _MANY else values
    by_epoch.xaxis.set_major_locator(MaxNLocator(integer=True))
    by_epoch.set_xlabel("epochs")
    by_time.set_xlabel(f"{unit} of training (epochs times the median epoch)")
    by_epoch.set_ylabel(_with_unit(metric))
    if shown and max(shown) > min(shown):
        margin = 0.05 * (max(shown) - min(shown))
        by_epoch.set_ylim(min(shown) - margin, max(shown) + margin)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _with_unit(metric: str) -> str:
    split, _, name = metric.partition("/")
    names = {"elbo": "-ELBO", "iwae": "-IWAE bound", "nll": "NLL", "reverse_kl": "reverse KL"}
    return f"{names.get(name, name)}, {_SPLITS.get(split, split)} set, nats"


def _time_unit(histories: Sequence[Sequence[Mapping[str, float]]]) -> tuple[str, int]:
    """Return the unit of time that suits the longest training, and its length in seconds."""
    longest = max((len(history) * _pace(history) for history in histories), default=0)
    return ("minutes", 60) if longest >= _LONG else ("seconds", 1)


def _pace(history: Sequence[Mapping[str, float]]) -> float:
    """Return the seconds of the median epoch; NaN if unknown."""
    return statistics.median(row.get("seconds", math.nan) for row in history) if history else math.nan


@styled
def difference_figure(
    differences: Mapping[str, Tensor], baseline: str, colors: Sequence[str] = (), over_seeds: Sequence[float] = ()
) -> "Figure":
    """Draw the NLL of every image minus a baseline's, with the mean and its standard errors.

    Args:
        differences: NLL minus the baseline's with shape (N,), in nats, by the experiment's name.
        baseline: the baseline's name.
        colors: colors of the experiments, in their order; by default one for all.
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
    axes.set_xlabel(
        f"NLL minus NLL of {baseline}, nats per image\n(dot: mean; thin: standard error over images{thick})"
    )
    return figure


@styled
def gain_bars(gains: Mapping[str, Tensor], baseline: str, title: str = "") -> "Figure":
    """Draw the gains of runs over a baseline: from the model, from the bound, and from the estimator's error.

    Args:
        gains: gains in nats per image with shape (3,), by the run's name: the decrease of the NLL, the decrease of the
            gap between ELBO and NLL, and the extra decrease of the NLL according to importance sampling.
        baseline: the baseline's name.
        title: figure title.
    """
    figure = new_figure(8, 1.8 + 0.9 * len(gains))
    axes = figure.add_subplot(title=fitted(figure, title))
    parts = (
        "model: lower NLL (annealed)",
        "bound: smaller gap between -ELBO and that NLL",
        "estimator: smaller error of importance sampling",
    )
    height = 0.27
    for part, label in enumerate(parts):
        places = [place + (part - 1) * height for place in range(len(gains))]
        bars = axes.barh(places, [float(gain[part]) for gain in gains.values()], height, label=label, color=f"C{part}")
        axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set_yticks(range(len(gains)), [wrapped(name) for name in gains])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.axvline(0, color="gray", lw=1)
    axes.set_xlabel(f"gain over {baseline}, nats per image")
    figure.legend(loc="outside lower center", ncols=1)
    return figure
