"""Pictures of how far to believe a likelihood."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from nfvae.estimators import Estimate, k_values
from nfvae.plots.canvas import new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_SMALLEST_SHARE = -8  # log10 of the smallest share of a weight that the histogram shows


@styled
def likelihood_figure(
    estimate: Estimate, weights: Tensor, images: Tensor, shape: tuple[int, int], title: str = "", worst: int = 8
) -> "Figure":
    """Show how far to believe importance-sampled likelihoods: log-weights, K-curve, and the images that fare worst.

    Args:
        estimate: the estimates of N images.
        weights: log-weights of some of the images, with shape (K, some).
        images: the images with shape (N, P).
        shape: height and width of an image.
        title: the run, and what was evaluated.
        worst: how many of the images with the largest k̂ are drawn.
    """
    figure = new_figure(11, 6.6)
    top, bottom = cast(Any, figure.subfigures(2, 1, height_ratios=[2.6, 1]))
    top.suptitle(title)
    left, right = top.subplots(1, 2)
    _weight_histogram(left, weights)
    _paired_curve(right, k_values(len(weights)), estimate.k_curve)
    _worst_images(bottom, estimate, images, shape, worst)
    return figure


@styled
def k_curves(curves: Mapping[str, Mapping[str, float]], title: str = "") -> "Figure":
    """Draw the bound of k samples over k, as a negative one: lower is better.

    Args:
        curves: the mean bound of each k, as an evaluation's summary has it, by the experiment's name.
        title: of the picture.
    """
    figure = new_figure(7, 4.6)
    axes = figure.add_subplot(title=title)
    for name, curve in curves.items():
        axes.plot([int(k) for k in curve], [-bound for bound in curve.values()], marker="o", label=name)
    axes.set_xscale("log")
    axes.set_xlabel("samples k")
    axes.set_ylabel("mean bound of -log p(x), nats per image")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _weight_histogram(axes: "Axes", weights: Tensor) -> None:
    share = (weights - torch.logsumexp(weights, 0)).double().cpu() / torch.tensor(10.0).log()
    shown = share[share >= _SMALLEST_SHARE]
    axes.hist(shown.numpy(), bins=100, log=True, color="tab:blue")
    largest, count = share.amax(0).median().item(), len(weights)
    axes.axvline(largest, color="tab:red", label=f"largest of an image,\nmedian: {100 * 10**largest:.2g}%")
    axes.axvline(-torch.tensor(float(count)).log10().item(), color="black", ls=":", label=f"all equal: 1/{count}")
    axes.set_xlabel("log₁₀ of a sample's share in its image's estimate")
    axes.set_ylabel(f"number of samples, of {weights.shape[1]} images")
    hidden = 1 - len(shown) / share.numel()
    axes.set_title(
        f"{hidden:.0%} of the samples have less than 10⁻⁸, not shown" if hidden >= 0.005 else "weights of samples"
    )
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.1), ncols=2)


def _paired_curve(axes: "Axes", counts: Sequence[int], curve: Tensor) -> None:
    """Draw the mean negative bounds, with the error of each difference from the last one, which images share."""
    errors = (curve - curve[:, -1:]).std(0, correction=min(1, len(curve) - 1)) / len(curve) ** 0.5
    axes.errorbar(counts, (-curve.mean(0)).numpy(), errors.numpy(), marker="o", capsize=4, color="tab:blue")
    axes.set_xscale("log")
    axes.set_xlabel("samples k")
    axes.set_ylabel("mean bound of -log p(x), nats per image")
    axes.set_title(f"K-curve (± paired standard error of the difference from k = {counts[-1]})")


def _worst_images(figure: "SubFigure", estimate: Estimate, images: Tensor, shape: tuple[int, int], worst: int) -> None:
    khat, bound = estimate.khat, estimate.log_likelihood
    known = not bool(khat.isnan().any())
    order = khat.argsort(descending=True) if known else torch.arange(len(khat))
    figure.suptitle("images with the largest k̂" if known else "first images; k̂ takes 25 samples at least")
    panels = figure.subplots(1, worst, squeeze=False)[0]
    for axes in panels:
        axes.set_axis_off()
    for axes, index in zip(panels, order.tolist(), strict=False):
        axes.imshow(1 - images[index].view(shape).float(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        tail = f"k̂ {khat[index]:.2f}\n" if known else ""
        axes.set_title(f"image {index}\n{tail}{-bound[index]:.1f} nats", fontsize=10)
