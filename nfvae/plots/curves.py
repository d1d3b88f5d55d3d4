"""Pictures of several runs: how they learned, and how they differ."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from nfvae.plots.canvas import SMALL_TYPE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def learning_curves(histories: Mapping[str, list[list[dict[str, float]]]], metric: str = "val/elbo") -> "Figure":
    """Draw a metric over epochs, a line for each run and a color for each experiment.

    Args:
        histories: the epochs' metrics of each run, by the experiment's name.
        metric: what is drawn.
    """
    figure = new_figure(6, 4)
    axes = figure.add_subplot()
    for place, (name, runs) in enumerate(histories.items()):
        for number, history in enumerate(runs):
            epochs = [row["epoch"] + 1 for row in history if metric in row]
            values = [row[metric] for row in history if metric in row]
            axes.plot(epochs, values, color=f"C{place % 10}", label=None if number else name, lw=1, marker=".")
    axes.set_xlabel("epochs")
    axes.set_ylabel(f"{metric}, nats per image")
    axes.legend(fontsize=SMALL_TYPE)
    return figure


def difference_figure(differences: Mapping[str, Tensor], baseline: str) -> "Figure":
    """Draw how the NLL of every image differs from a baseline's, with the mean and twice its standard error.

    Args:
        differences: NLL minus the baseline's with shape (N,), in nats, by the experiment's name.
        baseline: the baseline's name.
    """
    figure = new_figure(6, 0.6 * len(differences) + 1.4)
    axes = figure.add_subplot()
    axes.violinplot([values.numpy() for values in differences.values()], orientation="horizontal", showextrema=False)
    for place, values in enumerate(differences.values(), start=1):
        error = 2 * float(values.std()) / len(values) ** 0.5
        axes.errorbar(float(values.mean()), place, xerr=error, fmt="o", color="black", capsize=3, ms=4)
    axes.axvline(0, color="gray", lw=1)
    axes.set_yticks(range(1, len(differences) + 1), list(differences))
    axes.set_xlabel(f"NLL - that of {baseline}, nats an image; mean ± 2 standard errors")
    return figure
