"""Pictures of densities in one and two dimensions."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nfvae.flows import FlowDistribution
from nfvae.plots.canvas import headline, new_figure, plane, square_grid, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
@torch.no_grad()
def density_figure(
    data: Tensor, densities: Mapping[str, FlowDistribution], side: int = 200, title: str = ""
) -> "Figure":
    """Show data, the densities by name, and samples of the last one.

    Args:
        data: vectors with shape (N, D), D one or two.
        densities: densities by name, with event shape (D,).
        side: points per axis at which a density is evaluated.
        title: figure title.

    Raises:
        ValueError: for vectors of more than two numbers.
    """
    if data.shape[1] > 2:
        raise ValueError(f"a density of {data.shape[1]} numbers cannot be drawn")
    last, density = list(densities.items())[-1]
    points = {"data": data, f"samples of the {last}": density.sample(torch.Size([len(data)]))}  # type: ignore[no-untyped-call]
    reach = data.amax(0) - data.amin(0)
    margin = torch.where(reach > 0, 0.1 * reach, 1.0)
    grid, extent = square_grid(data.amin(0) - margin, data.amax(0) + margin, side)
    values = {name: density.log_prob(grid).exp() for name, density in densities.items()}
    if data.shape[1] == 1:
        figure = _densities_on_the_line(points, values, grid[:, 0], extent)
    else:
        figure = _densities_of_the_plane(points, values, extent, side)
    headline(figure, title)
    return figure


def _densities_on_the_line(
    points: Mapping[str, Tensor], values: Mapping[str, Tensor], grid: Tensor, extent: Sequence[float]
) -> "Figure":
    figure = new_figure(7, 4.6, "compressed")
    axes = figure.add_subplot()
    styles: list[dict[str, Any]] = [{"color": "lightgray"}, {"histtype": "step", "color": "black"}]
    for (title, vectors), style in zip(points.items(), styles, strict=True):
        bins = max(10, min(100, int(len(vectors) ** 0.5)))
        axes.hist(vectors[:, 0].numpy(), label=title, bins=bins, density=True, range=(extent[0], extent[1]), **style)
    for name, value in values.items():
        axes.plot(grid.numpy(), value.numpy(), label=name)
    axes.set_xlabel("x")
    axes.set_ylabel("density")
    axes.legend()
    return figure


def _densities_of_the_plane(
    points: Mapping[str, Tensor], values: Mapping[str, Tensor], extent: Sequence[float], side: int
) -> "Figure":
    width, height = extent[1] - extent[0], extent[3] - extent[2]
    figure = new_figure(3 * (2 + len(values)), min(6.0, max(2.0, 2.6 * height / width)) + 1.2, "compressed")
    panels = list(figure.subplots(1, 2 + len(values), sharex=True, sharey=True))
    panels[0].set_ylabel("$x_2$")
    for axes in panels:
        axes.set_aspect("equal")
        axes.set_xlabel("$x_1$")
    for axes, (title, vectors) in zip((panels[0], panels[-1]), points.items(), strict=True):
        axes.hist2d(*vectors.T.numpy(), bins=side // 3, range=[extent[:2], extent[2:]], cmap="viridis")
        axes.set_title(title)
    for axes, (name, value) in zip(panels[1:-1], values.items(), strict=True):
        axes.imshow(plane(value, side), origin="lower", extent=extent, cmap="viridis")
        axes.set_title(f"density of the {name}")
    return figure


@styled
@torch.no_grad()
def uniform_figure(data: Tensor, density: FlowDistribution, title: str = "") -> "Figure":
    """Show data mapped to the uniform distribution and back, by u = Φ(ε), where ε is a density's noise.

    Vectors of one number are also mapped to a Beta(5, 5) by its quantiles, as uniform numbers can be to any density.

    Args:
        data: vectors with shape (N, D), D one or two.
        density: density with event shape (D,).
        title: figure title.

    Raises:
        ValueError: for vectors of more than two numbers.
    """
    if data.shape[1] > 2:
        raise ValueError(f"a density of {data.shape[1]} numbers cannot be drawn")
    uniform = torch.special.ndtr(density.to_noise(data))
    fresh = torch.rand(data.shape, dtype=data.dtype)
    back = density.from_noise(torch.special.ndtri(fresh.clamp(1e-6, 1 - 1e-6))).z
    figure = new_figure(11, 3.6, "compressed")
    draw = _to_uniform_on_the_line if data.shape[1] == 1 else _to_uniform_square
    draw(figure, data, uniform, fresh, back)
    headline(figure, title)
    return figure


def _to_uniform_on_the_line(figure: "Figure", data: Tensor, uniform: Tensor, fresh: Tensor, back: Tensor) -> None:
    from scipy.special import betainc, betaincinv

    panels = figure.subplots(1, 4)
    order = data[:, 0].argsort()
    line = torch.linspace(0, 1, 200)
    beta = torch.from_numpy(betaincinv(5, 5, uniform.double().numpy()))
    exact = torch.from_numpy(betainc(5, 5, line.double().numpy())).diff() / line.diff()
    histogram: dict[str, Any] = {"bins": 60, "density": True}
    panels[0].hist(data[:, 0].numpy(), color="lightgray", label="data", **histogram)
    panels[0].hist(back[:, 0].numpy(), histtype="step", color="black", label="from uniform", **histogram)
    panels[0].legend(fontsize=8)
    panels[1].plot(data[order, 0].numpy(), uniform[order, 0].numpy())
    panels[2].hist(uniform[:, 0].numpy(), range=(0, 1), color="lightgray", **histogram)
    panels[2].axhline(1, color="tab:red")
    panels[3].hist(beta[:, 0].numpy(), range=(0, 1), color="lightgray", **histogram)
    panels[3].plot(line[1:].numpy(), exact.numpy(), color="tab:red")
    names = ("x", "x", "u", "Beta(5, 5) quantile of u")
    for axes, xlabel, ylabel in zip(panels, names, ("density", "u = Φ(ε(x))", "density", "density"), strict=True):
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)


def _to_uniform_square(figure: "Figure", data: Tensor, uniform: Tensor, fresh: Tensor, back: Tensor) -> None:
    """Color points by their position before the map, which shows where each point goes."""
    panels = figure.subplots(1, 4)
    margin = 0.15 * (data.amax(0) - data.amin(0))
    low, high = data.amin(0) - margin, data.amax(0) + margin
    clouds = {"data": (data, data), "data, mapped to u": (uniform, data), "uniform": (fresh, fresh)}
    for axes, (name, (points, by)) in zip(
        panels, (clouds | {"uniform, mapped to x": (back, fresh)}).items(), strict=True
    ):
        share = (by - by.amin(0)) / (by.amax(0) - by.amin(0))
        colors = torch.stack([share[:, 0], torch.full((len(by),), 0.35), share[:, 1]], 1)
        axes.scatter(*points.T.numpy(), s=1, lw=0, c=colors.numpy())
        axes.set_aspect("equal")
        axes.set_title(name)
        squared = points is uniform or points is fresh
        symbol = "u" if squared else "x"
        axes.set(xlabel=f"${symbol}_1$", ylabel=f"${symbol}_2$")
        axes.set(xlim=(0, 1) if squared else (low[0], high[0]), ylim=(0, 1) if squared else (low[1], high[1]))


@styled
@torch.no_grad()
def density_gallery(densities: Mapping[str, Mapping[str, FlowDistribution]], data: Mapping[str, Tensor]) -> "Figure":
    """Draw densities of the plane, one row per flow and one column per data set, below a row of the data.

    Args:
        densities: densities by flow, then by data set; the panel of a missing density stays empty.
        data: vectors with shape (N, 2) by data set.

    Raises:
        ValueError: for vectors that do not have two numbers.
    """
    if any(vectors.shape[1] != 2 for vectors in data.values()):
        raise ValueError("a gallery shows densities of two numbers")
    figure = new_figure(1.5 * len(data) + 1.0, 1.5 * (1 + len(densities)) + 0.4, "compressed")
    panels = figure.subplots(1 + len(densities), len(data), squeeze=False)
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[], frame_on=False, aspect="equal")
    for column, (name, vectors) in enumerate(data.items()):
        center = (vectors.amax(0) + vectors.amin(0)) / 2
        reach = 0.55 * (vectors.amax(0) - vectors.amin(0)).max()
        grid, extent = square_grid(center - reach, center + reach, 120)
        panels[0, column].hist2d(*vectors.T.numpy(), bins=60, range=[extent[:2], extent[2:]])
        panels[0, column].set_title(name)
        for row, (flow, by_data) in enumerate(densities.items(), start=1):
            panels[row, 0].set_ylabel(flow)
            if name in by_data:
                value = plane(by_data[name].log_prob(grid).exp(), 120)
                panels[row, column].imshow(value, origin="lower", extent=extent)
                nll = -by_data[name].log_prob(vectors).mean().item()
                panels[row, column].set_xlabel(f"{nll:.2f} nats", fontsize=8, labelpad=1)
    panels[0, 0].set_ylabel("data")
    headline(figure, "densities and their NLL on test vectors (colors scaled per panel)")
    return figure
