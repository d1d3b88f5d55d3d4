"""Pictures of flows and densities in one and two dimensions."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nfvae.flows import Bijection, Chain, FlowDistribution, Inverse
from nfvae.models import VAE
from nfvae.plots.canvas import SMALL_TYPE, new_figure, plane

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@torch.no_grad()
def density_figure(data: Tensor, densities: Mapping[str, FlowDistribution], side: int = 200) -> "Figure":
    """Show data, the densities by name, and samples of the last one.

    Args:
        data: vectors with shape (N, D), D one or two.
        densities: with event shape (D,).
        side: points of an axis at which a density is evaluated.

    Raises:
        ValueError: for vectors of more than two numbers.
    """
    if data.shape[1] > 2:
        raise ValueError(f"a density of {data.shape[1]} numbers cannot be drawn")
    last, density = list(densities.items())[-1]
    points = {"data": data, f"samples of the {last}": density.rsample(torch.Size([len(data)]))}
    margin = 0.1 * (data.amax(0) - data.amin(0))
    grid, extent = _grid(data.amin(0) - margin, data.amax(0) + margin, side)
    values = {name: density.log_prob(grid).exp() for name, density in densities.items()}
    if data.shape[1] == 1:
        return _densities_on_the_line(points, values, grid[:, 0], extent)
    return _densities_of_the_plane(points, values, extent, side)


def _densities_on_the_line(
    points: Mapping[str, Tensor], values: Mapping[str, Tensor], grid: Tensor, extent: Sequence[float]
) -> "Figure":
    figure = new_figure(6, 4)
    axes = figure.add_subplot()
    styles: list[dict[str, Any]] = [{"color": "lightgray"}, {"histtype": "step", "color": "black"}]
    for (title, vectors), style in zip(points.items(), styles, strict=True):
        axes.hist(vectors[:, 0].numpy(), label=title, bins=100, density=True, range=(extent[0], extent[1]), **style)
    for name, value in values.items():
        axes.plot(grid.numpy(), value.numpy(), label=name)
    axes.set_ylabel("density")
    axes.legend()
    return figure


def _densities_of_the_plane(
    points: Mapping[str, Tensor], values: Mapping[str, Tensor], extent: Sequence[float], side: int
) -> "Figure":
    figure = new_figure(3 * (2 + len(values)), 3.2)
    panels = list(figure.subplots(1, 2 + len(values), sharex=True, sharey=True))
    for axes, (title, vectors) in zip((panels[0], panels[-1]), points.items(), strict=True):
        axes.hist2d(*vectors.T.numpy(), bins=side // 2, range=[extent[:2], extent[2:]], cmap="viridis")
        axes.set_title(title)
    for axes, (name, value) in zip(panels[1:-1], values.items(), strict=True):
        axes.imshow(plane(value, side), origin="lower", extent=extent, aspect="auto", cmap="viridis")
        axes.set_title(f"density of the {name}")
    return figure


def layers_of(bijection: Bijection) -> list[Bijection]:
    """Return the layers of a flow's bijection in the order in which a draw passes them."""
    if isinstance(bijection, Chain):
        return list(bijection.parts)
    if isinstance(bijection, Inverse):
        return [Inverse(part) for part in reversed(layers_of(bijection.bijection))]
    return [bijection]


@torch.no_grad()
def layers_figure(density: FlowDistribution, most: int = 8, side: int = 200) -> "Figure":
    """Draw a two-dimensional density after each layer, z_0 ... z_K; of many layers some, first and last included.

    Args:
        density: with event shape (2,).
        most: panels.
        side: points of an axis.
    """
    layers = layers_of(density.bijection)
    shown = torch.linspace(0, len(layers), min(most, len(layers) + 1)).round().int().tolist()
    samples = density.rsample(torch.Size([5000]))
    low, high = torch.quantile(samples, torch.tensor([0.002, 0.998]), 0)
    margin = 0.2 * (high - low)
    grid, extent = _grid(low - margin, high + margin, side)
    figure = new_figure(2.2 * len(shown), 2.5)
    for axes, count in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        values = FlowDistribution(density.base, Chain(layers[:count])).log_prob(grid).exp()
        axes.imshow(plane(values, side), origin="lower", extent=extent, aspect="auto", cmap="viridis")
        axes.set_title(f"z_{count}")
        axes.tick_params(labelsize=6)
    return figure


@torch.no_grad()
def posterior_contours(
    models: Mapping[str, VAE], images: Tensor, titles: Sequence[str] | None = None, side: int = 150
) -> "Figure":
    """Draw q(z|x) as contours over the exact posterior on a grid, a row for each model and a column for each image.

    The contours are those of the density of q that enclose 50% and 90% of its mass.

    Args:
        models: VAEs with two latents, by name.
        images: binary images with shape (N, P), as floats.
        titles: of the columns.
        side: points of an axis, which reaches six standard deviations of q to either side.

    Raises:
        ValueError: for a model that has not two latents.
    """
    figure = new_figure(1.9 * len(images), 2.0 * len(models) + 0.4)
    panels = figure.subplots(len(models), len(images), squeeze=False)
    for row, (name, model) in zip(panels, models.items(), strict=True):
        if model.posterior.flow.features != 2:
            raise ValueError(f"{name} has {model.posterior.flow.features} latents; contours are drawn of two")
        for axes, x in zip(row, images, strict=True):
            samples = model.posterior(x).rsample(torch.Size([1000]))
            center, reach = samples.mean(0), 6 * samples.std(0).max()
            grid, extent = _grid(center - reach, center + reach, side)
            exact, approximate = _posteriors(model, x, grid)
            style: dict[str, Any] = {"origin": "lower", "extent": extent}
            axes.imshow(plane(exact, side), aspect="auto", cmap="Blues", **style)
            levels = _mass_levels(approximate, (0.9, 0.5))
            axes.contour(plane(approximate, side), levels=levels, colors="tab:red", linewidths=0.9, **style)
            axes.tick_params(labelsize=6)
        row[0].set_ylabel(name)
    for axes, title in zip(panels[0], titles or [], strict=False):
        axes.set_title(title, fontsize=SMALL_TYPE + 1)
    figure.suptitle("exact posterior p(z|x) (blue); contours that enclose 50% and 90% of q(z|x) (red)", fontsize=9)
    return figure


@torch.no_grad()
def posterior_misfit(model: VAE, images: Tensor, side: int = 200) -> Tensor:
    """Compute KL(q(z|x) || p(z|x)) of images with shape (N, P) on a grid over two latents; shape (N,), in nats."""
    reach = torch.full((2,), 5.0)
    grid, _ = _grid(-reach, reach, side)
    divergences = []
    for x in images:
        exact, approximate = _posteriors(model, x, grid)
        share = approximate / approximate.sum()
        divergences.append((share * (share.log() - exact.log())).nan_to_num(0, 0, 0).sum())
    return torch.stack(divergences)


def _mass_levels(density: Tensor, masses: Sequence[float]) -> list[float]:
    """Return the densities above which each mass lies, of a density on a grid; increasing, as contours want them."""
    ordered = density.sort(descending=True).values
    enclosed = ordered.cumsum(0) / ordered.sum()
    return [ordered[int((enclosed < mass).sum())].item() for mass in masses]


def _posteriors(model: VAE, x: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Return the exact posterior density, normalized on the grid, and q(z|x), both with shape (len(grid),)."""
    log_joint = model.decoder(grid[:, None]).log_prob(x[None])[:, 0] + model.prior().log_prob(grid)
    return log_joint.softmax(0), model.posterior(x[None]).log_prob(grid[:, None])[:, 0].exp()


@torch.no_grad()
def deformation_figure(maps: Mapping[str, Bijection], points: Tensor, arrows: int = 80) -> "Figure":
    """Draw what bijections do to a cloud of points: where each point goes, some of the ways as arrows.

    Args:
        maps: bijections of the plane, by title.
        points: the cloud with shape (N, 2).
        arrows: points that get an arrow.
    """
    columns = min(4, len(maps))
    lines = -(-len(maps) // columns)
    figure = new_figure(2.6 * columns, 2.8 * lines)
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flat
    for axes, (title, bijection) in zip(panels, maps.items(), strict=False):
        moved = bijection(points)
        axes.scatter(*moved.T.numpy(), s=2, color="tab:blue", alpha=0.4, lw=0)
        start, way = points[:arrows], (moved - points)[:arrows]
        style: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.004, "color": "tab:red"}
        axes.quiver(*start.T.numpy(), *way.T.numpy(), **style)
        axes.set_title(title, fontsize=9)
        axes.set_aspect("equal")
    return figure


def _grid(low: Tensor, high: Tensor, side: int) -> tuple[Tensor, Sequence[float]]:
    """Return the points of a grid with shape (side^D, D), and its extent as imshow takes it."""
    ends = list(zip(low.tolist(), high.tolist(), strict=True))
    grid = torch.cartesian_prod(*(torch.linspace(*pair, side) for pair in ends))
    return grid.view(-1, len(ends)), [end for pair in ends for end in pair]
