"""Pictures of how far to believe a likelihood."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nfvae.estimators import Estimate, k_values
from nfvae.plots.canvas import SMALL_TYPE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def likelihood_figure(
    estimate: Estimate, weights: Tensor, images: Tensor, samples: int, shape: tuple[int, int], worst: int = 8
) -> "Figure":
    """Show how far to believe importance-sampled likelihoods: log-weights, K-curve, and the images that fare worst.

    Args:
        estimate: the estimates of N images.
        weights: log-weights of some of the images, with shape (K, some).
        images: the images with shape (N, P).
        samples: K of the estimates.
        shape: height and width of an image.
        worst: how many of the images with the largest k̂ are drawn.
    """
    figure = new_figure(9, 5.2)
    grid = figure.add_gridspec(2, 2, height_ratios=[3, 1.2])
    _weight_histogram(figure.add_subplot(grid[0, 0]), weights)
    _k_curve(figure.add_subplot(grid[0, 1]), estimate, samples)
    order = estimate.khat.nan_to_num(-torch.inf).argsort(descending=True)[:worst]
    strip = grid[1, :].subgridspec(1, worst)
    for place, index in enumerate(order.tolist()):
        axes = figure.add_subplot(strip[place])
        axes.imshow(1 - images[index].view(shape).float(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_axis_off()
        khat, bound = estimate.khat[index].item(), estimate.log_likelihood[index].item()
        axes.set_title(f"image {index}\nk̂ {khat:.2f}\n{bound:.1f} nats", fontsize=SMALL_TYPE)
    return figure


def k_curves(curves: Mapping[str, Mapping[str, float]]) -> "Figure":
    """Draw the bound of k samples over k.

    Args:
        curves: the mean bound of each k, as an evaluation's summary has it, by the experiment's name.
    """
    figure = new_figure(6, 4)
    axes = figure.add_subplot()
    for name, curve in curves.items():
        axes.plot([int(k) for k in curve], list(curve.values()), marker="o", label=name)
    axes.set_xscale("log")
    axes.set_xlabel("samples k")
    axes.set_ylabel("mean bound of log p(x), nats per image")
    axes.legend(fontsize=SMALL_TYPE)
    return figure


def _weight_histogram(axes: "Axes", weights: Tensor) -> None:
    centered = (weights - torch.logsumexp(weights, 0)).double().cpu()
    share = torch.log10(centered.exp().clamp_min(1e-12))
    axes.hist(share.flatten().numpy(), bins=100, log=True, color="tab:blue")
    largest = share.amax(0).median().item()
    axes.axvline(largest, color="tab:red", label=f"largest of an image (median): {100 * 10**largest:.0f}%")
    axes.axvline(-torch.log10(torch.tensor(float(len(weights)))).item(), color="black", ls=":", label="all equal: 1/K")
    axes.set_xlabel(f"share of a sample in its image's estimate, log₁₀ ({weights.shape[1]} images)")
    axes.set_ylabel("samples")
    axes.legend(fontsize=SMALL_TYPE)


def _k_curve(axes: "Axes", estimate: Estimate, samples: int) -> None:
    means, errors = estimate.k_curve.mean(0), estimate.k_curve.std(0) / len(estimate.k_curve) ** 0.5
    axes.errorbar(k_values(samples), means.numpy(), 2 * errors.nan_to_num(0).numpy(), marker="o", capsize=3)
    axes.set_xscale("log")
    axes.set_xlabel("samples k")
    axes.set_ylabel("mean bound of log p(x), nats per image")
    axes.set_title("± 2 standard errors over images", fontsize=8)
