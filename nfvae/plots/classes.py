"""Pictures of classes: latents by label, and a classification."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nfvae.plots.canvas import headline, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_NUMBERED = 12  # classes whose counts are written into a confusion matrix
PROJECTIONS = ("pca", "tsne")


def projected(z: Tensor, method: str, seed: int = 0) -> Tensor:
    """Project points with shape (N, D) to the plane, by scikit-learn's PCA or t-SNE; with shape (N, 2)."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if method == "pca":
        return torch.from_numpy(PCA(2).fit_transform(z.numpy()))
    perplexity = min(30.0, (len(z) - 1) / 3)
    return torch.from_numpy(TSNE(2, perplexity=perplexity, random_state=seed).fit_transform(z.numpy()))


@styled
def latents_figure(
    points: Tensor, labels: Tensor | None, names: Sequence[str], axes_labels: tuple[str, str], title: str = ""
) -> "Figure":
    """Draw points of the plane in the colors of their labels.

    Args:
        points: the points with shape (N, 2).
        labels: class of each point with shape (N,); None for no colors.
        names: names of the classes.
        axes_labels: labels of the two axes.
        title: figure title.
    """
    from matplotlib import colormaps

    figure = new_figure(6.4, 5.4)
    axes = figure.add_subplot(xlabel=axes_labels[0], ylabel=axes_labels[1])
    if labels is None:
        axes.plot(*points.T.numpy(), ".", ms=4, color="tab:blue")
    else:
        colors = colormaps["tab10" if len(names) <= 10 else "gist_rainbow"]
        for place, name in enumerate(names):
            own = points[labels == place]
            color = colors(place if len(names) <= 10 else place / max(len(names) - 1, 1))
            axes.plot(*own.T.numpy(), ".", ms=4, color=color, label=name if len(names) <= 20 else None)
        if len(names) <= 20:
            figure.legend(loc="outside right upper", markerscale=2.5)
    headline(figure, title)
    return figure


@styled
def classification_figure(
    confusion: Tensor, curve: tuple[Tensor, Tensor, Tensor], names: Sequence[str], title: str = ""
) -> "Figure":
    """Draw a confusion matrix beside the accuracy over confidence.

    Args:
        confusion: numbers of data by true and by predicted class, with shape (K, K).
        curve: confidence, accuracy and count of each bin, as in `nfvae.estimators.Calibration`.
        names: names of the classes.
        title: figure title.
    """
    figure = new_figure(10, 4.8)
    left, right = figure.subplots(1, 2)
    _confusion(left, confusion, names)
    confidence, accuracy, count = curve
    right.plot([0, 1], [0, 1], color="black", lw=0.8)
    right.scatter(confidence, accuracy, 15 + 200 * count / count.sum(), color="tab:blue")
    right.set(xlabel="confidence: largest p(y|x)", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
    right.set_title("calibration (area: number of data)")
    headline(figure, title)
    return figure


def _confusion(axes: "Axes", confusion: Tensor, names: Sequence[str]) -> None:
    shares = confusion / confusion.sum(1, keepdim=True).clamp_min(1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(names)) if len(names) <= 30 else []
    rotation = 90 if max(map(len, names)) > 2 else 0
    axes.set_xticks(ticks, names if ticks else [], rotation=rotation)
    axes.set_yticks(ticks, names if ticks else [])
    if len(names) <= _MOST_NUMBERED:
        for row, column in (confusion > 0).nonzero().tolist():
            color = "white" if shares[row, column] > 0.5 else "black"
            count = int(confusion[row, column])
            axes.text(column, row, f"{count}", ha="center", va="center", fontsize=7, color=color)
    axes.set(xlabel="predicted class", ylabel="true class", title="share of each true class")
