"""Pictures; each function returns a matplotlib Figure."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nfvae.distributions import FlowDistribution
from nfvae.importance import Estimate, k_values

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def image_grid(images: Tensor, shape: tuple[int, int], columns: int = 8) -> "Figure":
    """Draw images row by row, black ink on white.

    Args:
        images: pixel values in [0, 1] with shape (N, P).
        shape: height and width of an image.
        columns: images a row.
    """
    from matplotlib.figure import Figure
    from torchvision.utils import make_grid

    grid = make_grid(images.cpu().view(-1, 1, *shape), nrow=columns, padding=1, pad_value=0.5)[0]
    height, width = grid.shape
    figure = Figure(figsize=(6, 6 * height / width), dpi=120)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.imshow(1 - grid, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_axis_off()
    return figure


def reconstruction_grid(x: Tensor, reconstructions: Tensor, shape: tuple[int, int], columns: int = 8) -> "Figure":
    """Draw images and under each row of them their reconstructions; both with shape (N, P)."""
    pairs = torch.stack([x.view(-1, columns, x.shape[-1]), reconstructions.view(-1, columns, x.shape[-1])], 1)
    return image_grid(pairs.flatten(0, 2), shape, columns)


@torch.no_grad()
def density_figure(data: Tensor, densities: Mapping[str, FlowDistribution], side: int = 200) -> "Figure":
    """Show data, the densities by name, and draws of the last one.

    Args:
        data: vectors with shape (N, D), D one or two.
        densities: with event shape (D,).
        side: points of an axis at which a density is evaluated.

    Raises:
        ValueError: for vectors of more than two numbers.
    """
    from matplotlib.figure import Figure

    last, density = list(densities.items())[-1]
    draws = density.rsample(torch.Size([len(data)]))
    margin = 0.1 * (data.amax(0) - data.amin(0))
    axes_points = [
        torch.linspace(*ends, side) for ends in zip(data.amin(0) - margin, data.amax(0) + margin, strict=True)
    ]
    grid = torch.cartesian_prod(*axes_points).view(-1, len(axes_points))
    values = {name: density.log_prob(grid).exp() for name, density in densities.items()}
    if data.shape[1] == 1:
        figure = Figure(figsize=(6, 4), dpi=120, layout="constrained")
        axes = figure.add_subplot()
        style: dict[str, Any] = {"bins": 100, "density": True, "range": (grid[0].item(), grid[-1].item())}
        axes.hist(data[:, 0].numpy(), color="lightgray", label="data", **style)
        axes.hist(draws[:, 0].numpy(), histtype="step", color="black", label=f"draws of the {last}", **style)
        for name, value in values.items():
            axes.plot(grid[:, 0].numpy(), value.numpy(), label=name)
        axes.set_ylabel("density")
        axes.legend()
        return figure
    if data.shape[1] != 2:
        raise ValueError(f"a density of {data.shape[1]} numbers cannot be drawn")
    figure = Figure(figsize=(3 * (2 + len(values)), 3.2), dpi=120, layout="constrained")
    panels = list(figure.subplots(1, 2 + len(values), sharex=True, sharey=True))
    extent = [points[end].item() for points in axes_points for end in (0, -1)]
    for axes, title, points in ((panels[0], "data", data), (panels[-1], f"draws of the {last}", draws)):
        axes.hist2d(*points.T.numpy(), bins=side // 2, range=[extent[:2], extent[2:]], cmap="viridis")
        axes.set_title(title)
    for axes, (name, value) in zip(panels[1:-1], values.items(), strict=True):
        axes.imshow(value.view(side, side).T.numpy(), origin="lower", extent=extent, aspect="auto", cmap="viridis")
        axes.set_title(f"density of the {name}")
    return figure


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
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.2), dpi=120, layout="constrained")
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
        axes.set_title(f"image {index}\nk̂ {khat:.2f}\n{bound:.1f} nats", fontsize=7)
    return figure


def learning_curves(histories: Mapping[str, list[list[dict[str, float]]]], metric: str = "val/elbo") -> "Figure":
    """Draw a metric over epochs, a line for each run and a colour for each experiment.

    Args:
        histories: the epochs' metrics of each run, by the experiment's name.
        metric: what is drawn.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for place, (name, runs) in enumerate(histories.items()):
        for number, history in enumerate(runs):
            epochs = [row["epoch"] + 1 for row in history if metric in row]
            values = [row[metric] for row in history if metric in row]
            axes.plot(epochs, values, color=f"C{place % 10}", label=None if number else name, lw=1, marker=".")
    axes.set_xlabel("epochs")
    axes.set_ylabel(f"{metric}, nats per image")
    axes.legend(fontsize=7)
    return figure


def k_curves(curves: Mapping[str, Mapping[str, float]]) -> "Figure":
    """Draw the bound of k samples over k.

    Args:
        curves: the mean bound of each k, as an evaluation's summary has it, by the experiment's name.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for name, curve in curves.items():
        axes.plot([int(k) for k in curve], list(curve.values()), marker="o", label=name)
    axes.set_xscale("log")
    axes.set_xlabel("samples k")
    axes.set_ylabel("mean bound of log p(x), nats per image")
    axes.legend(fontsize=7)
    return figure


def difference_figure(differences: Mapping[str, Tensor], baseline: str) -> "Figure":
    """Draw how the NLL of every image differs from a baseline's, with the mean and twice its standard error.

    Args:
        differences: NLL minus the baseline's with shape (N,), in nats, by the experiment's name.
        baseline: the baseline's name.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 0.6 * len(differences) + 1.4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.violinplot([values.numpy() for values in differences.values()], orientation="horizontal", showextrema=False)
    for place, values in enumerate(differences.values(), start=1):
        error = 2 * float(values.std()) / len(values) ** 0.5
        axes.errorbar(float(values.mean()), place, xerr=error, fmt="o", color="black", capsize=3, ms=4)
    axes.axvline(0, color="gray", lw=1)
    axes.set_yticks(range(1, len(differences) + 1), list(differences))
    axes.set_xlabel(f"NLL - that of {baseline}, nats an image; mean ± 2 standard errors")
    return figure


def _weight_histogram(axes: "Axes", weights: Tensor) -> None:
    centred = (weights - torch.logsumexp(weights, 0)).double().cpu()
    share = torch.log10(centred.exp().clamp_min(1e-12))
    axes.hist(share.flatten().numpy(), bins=100, log=True, color="tab:blue")
    largest = share.amax(0).median().item()
    axes.axvline(largest, color="tab:red", label=f"largest of an image (median): {100 * 10**largest:.0f}%")
    axes.axvline(-torch.log10(torch.tensor(float(len(weights)))).item(), color="black", ls=":", label="all equal: 1/K")
    axes.set_xlabel(f"share of a sample in its image's estimate, log₁₀ ({weights.shape[1]} images)")
    axes.set_ylabel("samples")
    axes.legend(fontsize=7)


def _k_curve(axes: "Axes", estimate: Estimate, samples: int) -> None:
    means, errors = estimate.k_curve.mean(0), estimate.k_curve.std(0) / len(estimate.k_curve) ** 0.5
    axes.errorbar(k_values(samples), means.numpy(), 2 * errors.nan_to_num(0).numpy(), marker="o", capsize=3)
    axes.set_xscale("log")
    axes.set_xlabel("samples k")
    axes.set_ylabel("mean bound of log p(x), nats per image")
    axes.set_title("± 2 standard errors over images", fontsize=8)
