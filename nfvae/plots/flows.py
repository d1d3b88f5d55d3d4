"""Pictures of flows: their layers, their effect on points, and posteriors against exact ones."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nfvae.flows import Bijection, Chain, Draw, FlowDistribution, Identity, layers_of
from nfvae.models import VAE
from nfvae.plots.canvas import headline, new_figure, plane, square_grid, styled
from nfvae.plots.images import show_datum

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_COLUMNS = 4  # panels side by side


@styled
@torch.no_grad()
def layers_figure(density: FlowDistribution, most: int = 8, side: int = 200, title: str = "") -> "Figure":
    """Draw a two-dimensional density after each layer, z_0 ... z_K; of many layers, some with first and last.

    Args:
        density: density with event shape (2,).
        most: largest number of panels.
        side: points per axis; all panels share their axes.
        title: figure title.

    Raises:
        ValueError: for a density that is not two-dimensional.
    """
    if (features := density.event_shape.numel()) != 2:
        raise ValueError(f"layers are drawn in two dimensions (--model.latent 2); this density has {features}")
    layers = layers_of(density.bijection)
    counts = torch.linspace(0, len(layers), min(most, len(layers) + 1)).round().int().tolist()
    start = Identity((2,))
    stages = [FlowDistribution(density.base, Chain([start, *layers[:count]])) for count in counts]
    samples = torch.cat([stage.sample(torch.Size([5000])) for stage in stages])  # type: ignore[no-untyped-call]
    low, high = torch.quantile(samples[torch.randperm(len(samples))[:100_000]], torch.tensor([0.001, 0.999]), 0)
    center, reach = (low + high) / 2, 0.6 * (high - low).max()
    grid, extent = square_grid(center - reach, center + reach, side)
    rows = -(-len(counts) // _MOST_COLUMNS)
    columns = -(-len(counts) // rows)
    figure = new_figure(max(2.6 * columns + 0.4, 7), 2.8 * rows + 0.7, "compressed")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in panels.flat[len(counts) :]:
        axes.set_axis_off()
    for axes in panels.flat[len(counts) - columns : len(counts)]:  # the lowest panel of each column
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("$z_1$")
    for axes, count, stage in zip(panels.flat, counts, stages, strict=False):
        axes.imshow(plane(stage.log_prob(grid).exp(), side), origin="lower", extent=extent, cmap="viridis")
        axes.set_title(f"after layer {count} of {len(layers)}" if count else "before the flow")
    for axes in panels[:, 0]:
        axes.set_ylabel("$z_2$")
    shown = "" if len(counts) > len(layers) else f"{len(counts)} of {len(layers) + 1} stages; "
    headline(figure, f"{title}\n({shown}colors scaled per panel)".lstrip())
    return figure


def check_plane(models: Mapping[str, VAE]) -> None:
    """Refuse models that do not have two latents.

    Raises:
        ValueError: for a model with another number of latents.
    """
    for name, model in models.items():
        if (features := model.posterior.flow.features) != 2:
            raise ValueError(f"{name} has {features} latents; contours are drawn of two: --model.latent 2")


@styled
@torch.no_grad()
def posterior_contours(
    models: Mapping[str, VAE], images: Tensor, shape: Sequence[int], titles: Sequence[str] = (), side: int = 150
) -> "Figure":
    """Draw contours of q(z|x) over the exact posterior on a grid, one row per model and one column per image.

    The contours of the density of q enclose 50% and 90% of its mass. All panels have the same scale, and q is in the
    middle of its panel.

    Args:
        models: VAEs with two latents, by name.
        images: rows of data with shape (N, P + C).
        shape: shape of a datum.
        titles: titles of the columns.
        side: points per axis, which reaches four standard deviations of the widest q to either side.

    Raises:
        ValueError: for a model that does not have two latents.
    """
    check_plane(models)
    draws = {name: model.posterior(images).rsample(torch.Size([1000])) for name, model in models.items()}
    reach = 4 * max(samples.std(0).max() for samples in draws.values())
    figure = new_figure(1.9 * len(images) + 0.5, 1.9 * len(models) + 1.8)
    heights = [0.45, *([1] * len(models))]
    panels = figure.subplots(1 + len(models), len(images), squeeze=False, height_ratios=heights)
    for axes, x in zip(panels[0], images, strict=True):
        show_datum(axes, x, shape)
    for axes, title in zip(panels[0], titles, strict=False):
        axes.set_title(title)
    for row, (name, model) in zip(panels[1:], models.items(), strict=True):
        for axes, x, samples in zip(row, images, draws[name].unbind(1), strict=True):
            _contours(axes, model, x, samples.mean(0), reach, side)
        row[0].set_ylabel(f"{name}\n$z_2$")
    for axes in panels[-1]:
        axes.set_xlabel("$z_1$")
    headline(figure, "exact posterior p(z|x) (blue) and contours of q(z|x) that enclose 50% and 90% (red)")
    return figure


def _contours(axes: "Axes", model: VAE, x: Tensor, center: Tensor, reach: Tensor, side: int) -> None:
    grid, extent = square_grid(center - reach, center + reach, side)
    exact, approximate = _posteriors(model, x, grid)
    style: dict[str, Any] = {"origin": "lower", "extent": extent}
    axes.imshow(plane(exact, side), cmap="Blues", **style)
    levels = _mass_levels(approximate, (0.9, 0.5))
    axes.contour(plane(approximate, side), levels=levels, colors="tab:red", linewidths=1, **style)
    axes.locator_params(nbins=3)


@torch.no_grad()
def posterior_misfit(model: VAE, images: Tensor, side: int = 200) -> Tensor:
    """Compute KL(q(z|x) || p(z|x)) of images with shape (N, P) on a grid over two latents; shape (N,), in nats."""
    reach = torch.full((2,), 5.0)
    grid, _ = square_grid(-reach, reach, side)
    divergences = []
    for x in images:
        exact, approximate = _posteriors(model, x, grid)
        share = approximate / approximate.sum()
        divergences.append((share * (share.log() - exact.log())).nan_to_num(0, 0, 0).sum())
    return torch.stack(divergences)


def _mass_levels(density: Tensor, masses: Sequence[float]) -> list[float]:
    """Return the levels above which a density on a grid has each mass; increasing, as contours require."""
    ordered = density.sort(descending=True).values
    enclosed = ordered.cumsum(0) / ordered.sum()
    return [ordered[int((enclosed < mass).sum())].item() for mass in masses]


def _posteriors(model: VAE, x: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Return the exact posterior density, normalized on the grid, and q(z|x), both with shape (len(grid),)."""
    nothing = torch.zeros(len(grid), 1)
    terms = model.log_terms(x[None], Draw(grid[:, None], nothing, nothing))
    log_joint = (terms.likelihood + terms.prior)[:, 0]
    return log_joint.softmax(0), model.posterior(x[None]).log_prob(grid[:, None])[:, 0].exp()


@styled
@torch.no_grad()
def deformation_figure(maps: Mapping[str, Bijection], points: Tensor, arrows: int = 25) -> "Figure":
    """Draw a cloud of points before and after bijections, with arrows for some points.

    Args:
        maps: bijections of the plane, by title.
        points: the cloud with shape (N, 2).
        arrows: number of points with an arrow.
    """
    columns = min(_MOST_COLUMNS, len(maps))
    lines = -(-len(maps) // columns)
    figure = new_figure(2.7 * columns, 2.9 * lines + 0.5, "compressed")
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flat
    for axes, (title, bijection) in zip(panels, maps.items(), strict=False):
        moved = bijection(points)
        axes.scatter(*points.T.numpy(), s=3, color="lightgray", lw=0)
        axes.scatter(*moved.T.numpy(), s=3, color="tab:blue", alpha=0.5, lw=0)
        start, way = points[:arrows], (moved - points)[:arrows]
        style: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.005, "color": "tab:red"}
        axes.quiver(*start.T.numpy(), *way.T.numpy(), **style)
        axes.set_title(title)
        axes.set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal")
        axes.label_outer()
    headline(figure, f"points before (gray) and after (blue) the layer; arrows: {arrows} of them")
    return figure
