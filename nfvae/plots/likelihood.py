"""Pictures of how reliable a likelihood is."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from nfvae.estimators import AnnealedEstimate, Estimate, GapEstimate, SandwichEstimate, k_values
from nfvae.plots.canvas import fitted, headline, line_style, new_figure, styled, wrapped
from nfvae.plots.images import show_datum

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_LABEL_SHARE = 0.32  # share of the longest bar, taken by labels on either side
_SMALLEST_SHARE = -8  # log10 of the smallest share of a weight that the histogram shows


@styled
def likelihood_figure(
    estimate: Estimate, weights: Tensor, images: Tensor, shape: Sequence[int], title: str = "", worst: int = 8
) -> "Figure":
    """Show how reliable importance-sampled likelihoods are: log-weights, K-curve, and the worst images.

    Args:
        estimate: the estimates of N images.
        weights: log-weights of some of the images, with shape (K, some).
        images: rows of data with shape (N, P + C).
        shape: shape of a datum.
        title: figure title, with run and evaluation.
        worst: number of images with the largest k̂ to draw.
    """
    figure, top, bottom = _with_images(11, title)
    left, right = top.subplots(1, 2)
    _weight_histogram(left, weights)
    _paired_curve(right, k_values(len(weights)), estimate.k_curve)
    _worst_images(bottom, estimate, images, shape, worst)
    return figure


@styled
def k_curves(curves: Mapping[str, Mapping[str, float]], title: str = "") -> "Figure":
    """Draw the negative bound of k samples over k; lower is better.

    Args:
        curves: mean bound of each k, as in an evaluation's summary, by the experiment's name.
        title: figure title.
    """
    figure = new_figure(7, 4.6)
    axes = figure.add_subplot(title=fitted(figure, title))
    for place, (name, curve) in enumerate(curves.items()):
        bounds = [-bound for bound in curve.values()]
        axes.plot([int(k) for k in curve], bounds, label=wrapped(name), **line_style(place))
    axes.set_xscale("log")
    axes.set_xlabel("importance samples k")
    axes.set_ylabel("estimated NLL, nats per image")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _with_images(width: float, title: str) -> tuple["Figure", Any, "SubFigure"]:
    """Return a figure, its part for measurements, and its part for a row of images."""
    figure = new_figure(width, 6.6)
    top, bottom = cast(Any, figure.subfigures(2, 1, height_ratios=[2.6, 1]))
    headline(top, title)
    return figure, top, bottom


def _error_of_mean(values: Tensor) -> Tensor:
    """Return the standard error of the mean over the first dimension; 0 for one value."""
    error: Tensor = values.std(0, correction=min(1, len(values) - 1)) / len(values) ** 0.5
    return error


def _weight_histogram(axes: "Axes", weights: Tensor) -> None:
    share = (weights - torch.logsumexp(weights, 0)).double().cpu() / torch.tensor(10.0).log()
    shown = share[share >= _SMALLEST_SHARE]
    axes.hist(shown.numpy(), bins=100, log=True, color="tab:blue")
    largest, count = share.amax(0).median().item(), len(weights)
    axes.axvline(largest, color="tab:red", label=f"largest weight of an image,\nmedian: {100 * 10**largest:.2g}%")
    axes.axvline(-torch.tensor(float(count)).log10().item(), color="black", ls=":", label=f"equal weights: 1/{count}")
    axes.set_xlabel("log₁₀ of the normalized importance weight")
    axes.set_ylabel(f"samples of {weights.shape[1]} images")
    hidden = 1 - len(shown) / share.numel()
    axes.set_title(
        f"importance weights ({hidden:.0%} below 10⁻⁸ not shown)" if hidden >= 0.005 else "importance weights"
    )
    axes.legend(loc="upper left", frameon=True, framealpha=0.85, edgecolor="none")


def _paired_curve(axes: "Axes", counts: Sequence[int], curve: Tensor) -> None:
    """Draw the mean negative bounds, with the paired error of each difference from the last bound."""
    errors = _error_of_mean(curve - curve[:, -1:])
    axes.errorbar(counts, (-curve.mean(0)).numpy(), errors.numpy(), marker="o", capsize=4, color="tab:blue")
    axes.set_xscale("log")
    axes.set_xlabel("importance samples k")
    axes.set_ylabel("estimated NLL, nats per image")
    axes.set_title(f"NLL over samples (± paired error to k = {counts[-1]})")


def _worst_images(figure: "SubFigure", estimate: Estimate, images: Tensor, shape: Sequence[int], worst: int) -> None:
    khat = estimate.khat
    known = not bool(khat.isnan().any())
    title = "images with the largest k̂" if known else "first images; k̂ takes 25 samples at least"
    _images_by(figure, khat, "k̂", title, estimate.log_likelihood, images, shape, worst)


def _images_by(
    figure: "SubFigure",
    values: Tensor,
    name: str,
    title: str,
    bound: Tensor,
    images: Tensor,
    shape: Sequence[int],
    count: int,
) -> None:
    """Draw the images with the largest values, or the first images if values are unknown."""
    known = not bool(values.isnan().any())
    order = values.argsort(descending=True) if known else torch.arange(len(values))
    headline(figure, title)
    panels = figure.subplots(1, count, squeeze=False)[0]
    for axes in panels:
        axes.set_axis_off()
    for axes, index in zip(panels, order.tolist(), strict=False):
        show_datum(axes, images[index], shape, images)
        value = f"{name} {values[index]:.2f}\n" if known and name else ""
        axes.set_title(f"image {index}\n{value}NLL {-bound[index]:.1f}", fontsize=10)


@styled
def annealed_figure(
    estimate: AnnealedEstimate, images: Tensor, shape: Sequence[int], title: str = "", worst: int = 8
) -> "Figure":
    """Show how reliable annealed importance sampling is: spread and acceptance along the path, and the bounds.

    Args:
        estimate: the estimates of N images.
        images: rows of data with shape (N, P + C).
        shape: shape of a datum.
        title: figure title, with run and evaluation.
        worst: number of images whose log-weights spread most to draw.
    """
    figure, top, bottom = _with_images(13, title)
    left, middle, right = top.subplots(1, 3)
    betas = estimate.betas.mean(0)
    _band(left, betas, estimate.spreads, "spread of log-weights over chains, nats")
    left.set_title("spread of the chains' log-weights")
    _band(middle, betas, estimate.acceptances, "acceptance of moves")
    middle.set_ylim(0, 1.02)
    middle.set_title("acceptance of the moves")
    _bounds(right, _lower_bounds(estimate))
    _most_spread(bottom, estimate, images, shape, worst)
    return figure


@styled
def sandwich_figure(
    estimate: SandwichEstimate, images: Tensor, shape: Sequence[int], title: str = "", worst: int = 8
) -> "Figure":
    """Show the lower and upper bounds of simulated images: per image, and their means.

    Args:
        estimate: the estimates of N images.
        images: rows of data with shape (N, P + C).
        shape: shape of a datum.
        title: figure title, with run and evaluation.
        worst: number of images whose log-weights spread most to draw.
    """
    figure, top, bottom = _with_images(11, title)
    left, right = top.subplots(1, 2)
    between = (estimate.upper - estimate.log_likelihood).sort().values
    left.plot(range(1, len(between) + 1), between, ".", color="tab:blue")
    left.axhline(0, color="black", lw=0.8)
    label = f"mean: {between.mean():.3f} ± {_error_of_mean(between):.3f}"
    left.axhline(between.mean(), color="tab:red", label=label)
    left.set_xlabel("images, sorted")
    left.set_ylabel("upper minus lower bound of log p(x), nats")
    left.set_title("bracket")
    left.legend()
    _bounds(right, _lower_bounds(estimate) | {"backwards": estimate.upper})
    _most_spread(bottom, estimate, images, shape, worst)
    return figure


@styled
def gap_figure(
    estimate: GapEstimate, images: Tensor, shape: Sequence[int], title: str = "", worst: int = 8
) -> "Figure":
    """Show the two parts of the gap between ELBO and log p(x), image by image.

    Args:
        estimate: the gaps of N images.
        images: rows of data with shape (N, P + C).
        shape: shape of a datum.
        title: figure title, with run and evaluation.
        worst: number of images with the largest amortization gap to draw.
    """
    figure, top, bottom = _with_images(8, title)
    axes = top.subplots(1, 1)
    axes.plot(estimate.approximation, estimate.amortization, ".", color="tab:blue")
    axes.axhline(0, color="black", lw=0.8)
    axes.axvline(0, color="black", lw=0.8)
    means = [float(values.mean()) for values in (estimate.approximation, estimate.amortization)]
    axes.plot(*means, "o", color="tab:red", label=f"mean: {means[0]:.2f}, {means[1]:.2f}")
    axes.set_xlabel("approximation gap (flow), nats")
    axes.set_ylabel("amortization gap (encoder), nats")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1))
    values = estimate.amortization
    title = "images with the largest amortization gap"
    _images_by(bottom, values, "gap", title, estimate.log_likelihood, images, shape, worst)
    return figure


@styled
def gap_bars(summaries: Mapping[str, Mapping[str, float | None]], title: str = "") -> "Figure":
    """Draw the gap between ELBO and log p(x) of several runs in its two parts, each labeled on its own side.

    Args:
        summaries: `nll`, `approximation`, `amortization` and the `_se` of both gaps, in nats per image, by the run's
            name.
        title: figure title.
    """
    figure = new_figure(8, 1.5 + 0.6 * len(summaries))
    axes = figure.add_subplot(title=fitted(figure, title))
    names = list(summaries)[::-1]
    parts = {
        part: torch.tensor([summaries[name][part] for name in names]) for part in ("approximation", "amortization")
    }
    nll = torch.tensor([summaries[name]["nll"] for name in names])
    best = nll + parts["approximation"]
    end = best + parts["amortization"]
    for (part, widths), start, color in zip(parts.items(), (nll, best), ("tab:orange", "tab:blue"), strict=True):
        axes.barh(range(len(names)), widths.tolist(), left=start.tolist(), label=f"{part} gap", color=color)
    for place, name in enumerate(names):
        left, right = (_with_error(summaries[name], part) for part in parts)
        least = min(float(nll[place]), float(best[place]))
        axes.annotate(left, (least, place), (-5, 0), textcoords="offset points", ha="right", va="center")
        axes.annotate(right, (float(end[place]), place), (5, 0), textcoords="offset points", ha="left", va="center")
    axes.set_yticks(range(len(names)), [wrapped(name) for name in names])
    axes.set_xlabel("nats per image: each bar goes from the NLL to -ELBO")
    low, high = float(nll.min()), float(end.max())
    margin = _LABEL_SHARE * (high - low or 1.0)
    axes.set_xlim(low - margin, high + margin)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _with_error(summary: Mapping[str, float | None], name: str) -> str:
    error = summary[f"{name}_se"]
    return f"{summary[name]:.2f}" + ("" if error is None else f" ± {error:.2f}")


def _band(axes: "Axes", betas: Tensor, values: Tensor, label: str) -> None:
    """Draw the median and the 5% to 95% range over images of values with shape (N, points)."""
    if values.isnan().all():
        axes.text(0.5, 0.5, "a single chain does not say", ha="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    low, median, high = (values.nanquantile(share, 0) for share in (0.05, 0.5, 0.95))
    axes.fill_between(betas, low, high, color="tab:blue", alpha=0.25, lw=0, label="5% to 95% of the images")
    axes.plot(betas, median, marker="o", color="tab:blue", label="median")
    axes.set_xlabel("inverse temperature β (0: q(z|x), 1: exact posterior)")
    axes.set_ylabel(label)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(bottom=0)
    axes.legend()


def _lower_bounds(estimate: AnnealedEstimate | SandwichEstimate) -> dict[str, Tensor]:
    bounds = {"-ELBO": estimate.elbo, "one chain": estimate.mean_log_weight}
    return bounds | {"all chains": estimate.log_likelihood}


def _bounds(axes: "Axes", bounds: Mapping[str, Tensor]) -> None:
    """Draw mean negative bounds, with the paired error of each difference from the bound of all chains."""
    best = bounds["all chains"]
    means = [float(-bound.mean()) for bound in bounds.values()]
    errors = [float(_error_of_mean(bound - best)) for bound in bounds.values()]
    axes.errorbar(range(len(means)), means, errors, marker="o", ls="", capsize=4, color="tab:blue")
    for place, mean in enumerate(means):
        axes.annotate(f"{mean:.2f}", (place, mean), (7, 3), textcoords="offset points", fontsize=10)
    axes.set_xticks(range(len(means)), list(bounds))
    axes.set_xlim(-0.4, len(means) - 0.3)
    axes.set_ylabel("estimated NLL, nats per image")
    axes.set_title("NLL over chains (± paired error to all)")


def _most_spread(
    figure: "SubFigure",
    estimate: AnnealedEstimate | SandwichEstimate,
    images: Tensor,
    shape: Sequence[int],
    worst: int,
) -> None:
    known = not bool(estimate.spread.isnan().any())
    title = "images whose log-weights spread most" if known else "first images; a single chain has no spread"
    _images_by(figure, estimate.spread, "spread", title, estimate.log_likelihood, images, shape, worst)


@styled
def exact_figure(
    log_likelihood: Tensor, images: Tensor, shape: Sequence[int], title: str = "", worst: int = 8
) -> "Figure":
    """Show exact log-densities: their histogram, and the data of lowest density.

    Args:
        log_likelihood: log p(x) of N data, in nats.
        images: rows of data with shape (N, D + C).
        shape: shape of a datum.
        title: figure title.
        worst: number of data of lowest density to draw.
    """
    figure, top, bottom = _with_images(8, title)
    axes = top.subplots(1, 1)
    bins = max(10, min(60, int(len(log_likelihood) ** 0.5)))
    axes.hist(log_likelihood.numpy(), bins, color="tab:blue")
    axes.axvline(log_likelihood.mean(), color="tab:red", label=f"mean: {log_likelihood.mean():.2f}")
    axes.set_xlabel("log p(x), nats")
    axes.set_ylabel("data")
    axes.legend()
    _images_by(bottom, -log_likelihood, "", "data of lowest density", log_likelihood, images, shape, worst)
    return figure
