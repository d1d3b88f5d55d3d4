"""Pictures of images: samples, reconstructions, latent traversals and interpolations."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nfvae.models import VAE
from nfvae.plots.canvas import fitted, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_DRAWN_CHANNELS = (1, 3)
_MISSING = "lightsteelblue"


def as_images(rows: Tensor, shape: Sequence[int]) -> Tensor:
    """Return rows of data as images with shape (N, channels, height, width).

    Raises:
        ValueError: for data that are no gray or color images.
    """
    sizes = (1, *shape) if len(shape) == 2 else tuple(shape)
    if len(sizes) != 3 or sizes[0] not in _DRAWN_CHANNELS:
        raise ValueError(f"images of 1 or 3 channels are drawn; got data of shape {list(shape)}")
    return rows[:, : math.prod(sizes)].reshape(-1, *sizes)


def show(axes: "Axes", image: Tensor) -> None:
    """Draw an image with values in [0, 1] and shape (channels, height, width): colors, or black ink on white.

    Missing values of gray images are blue; those of color images are black.
    """
    image = image.cpu().float().clamp(0, 1)
    if len(image) == 1:
        axes.set_facecolor(_MISSING)
        axes.imshow(1 - image[0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    else:
        axes.imshow(image.nan_to_num(0).movedim(0, -1), interpolation="nearest")


def show_datum(axes: "Axes", row: Tensor, shape: Sequence[int], every: Tensor | None = None) -> None:
    """Draw an image, or the values of a vector as bars, without axes.

    Args:
        axes: where to draw.
        row: the datum with shape (P + C,).
        shape: shape of the datum.
        every: data with shape (N, P + C), by whose mean and deviation vectors are standardized; None to leave them.
    """
    if len(shape) > 1:
        show(axes, as_images(row[None], shape)[0])
    else:
        values = row[: shape[0]].float().cpu()
        if every is not None and len(every) > 1:
            others = every[:, : shape[0]].float().cpu()
            mean = others.nanmean(0)
            values = (values - mean) / (others - mean).square().nanmean(0).sqrt().clamp_min(1e-12)
        axes.bar(range(len(values)), values.nan_to_num(0).tolist(), color="tab:blue")
        axes.axhline(0, color="black", lw=0.5)
    axes.set_axis_off()


@styled
def image_grid(
    images: Tensor,
    shape: Sequence[int],
    columns: int = 8,
    title: str = "",
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
) -> "Figure":
    """Draw images row by row, gray ones as black ink on white.

    Args:
        images: pixel values in [0, 1] with shape (N, P).
        shape: height and width of an image, or channels, height and width.
        columns: images per row.
        title: figure title.
        row_labels: labels to the left of the rows.
        column_labels: labels below the columns.
    """
    from torchvision.utils import make_grid

    stacked = as_images(images.cpu(), shape)
    channels, height, width = stacked.shape[1:]
    grid = make_grid(stacked, nrow=columns, padding=1, pad_value=0.5)[:channels]
    rows, length = grid.shape[1:]
    figure = new_figure(7, 7 * rows / length + 0.4 * bool(title) + 0.4 * bool(column_labels))
    axes = figure.add_subplot(title=fitted(figure, title))
    show(axes, grid)
    axes.set_yticks(_middles(height, row_labels), row_labels)
    axes.set_xticks(_middles(width, column_labels), column_labels)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def _middles(side: int, labels: Sequence[str]) -> list[float]:
    return [1 + (side + 1) * place + (side - 1) / 2 for place in range(len(labels))]


def reconstruction_grid(
    x: Tensor, reconstructions: Tensor, shape: Sequence[int], columns: int = 8, title: str = ""
) -> "Figure":
    """Draw rows of images, each above the row of its reconstructions; both have shape (N, P)."""
    pairs = torch.stack([x.view(-1, columns, x.shape[-1]), reconstructions.view(-1, columns, x.shape[-1])], 1)
    labels = ["input", "decoded"] * len(pairs)
    return image_grid(pairs.flatten(0, 2), shape, columns, title, labels)


@torch.no_grad()
def latent_traversal(
    model: VAE,
    z: Tensor,
    latents: list[int],
    shape: Sequence[int],
    reach: float = 3.0,
    steps: int = 9,
    title: str = "",
    condition: Tensor | None = None,
) -> "Figure":
    """Decode a point while one latent at a time moves from -reach to reach, one row per latent.

    Args:
        model: the VAE.
        z: the point, with shape (D,).
        latents: indices of the latents that move.
        shape: height and width of an image.
        reach: largest value of a latent, in the prior's standard deviations.
        steps: images per row.
        title: figure title.
        condition: conditions with shape (C,), for a model that has them.
    """
    points, values = z.repeat(len(latents), steps, 1), torch.linspace(-reach, reach, steps)
    for row, latent in enumerate(latents):
        points[row, :, latent] = values
    rows = [f"z[{latent}] = {round(float(z[latent]), 1) + 0.0:+.1f}" for latent in latents]  # without -0.0
    columns = [f"{value:+.2f}" for value in values.tolist()]
    figure = image_grid(model.decode(points, condition).mean.flatten(0, 1), shape, steps, title, rows, columns)
    figure.axes[0].set_xlabel("value of the latent (left: its value for this image)")
    return figure


@torch.no_grad()
def interpolation_grid(
    model: VAE, first: Tensor, second: Tensor, shape: Sequence[int], steps: int = 8, title: str = ""
) -> "Figure":
    """Decode points between the latents of two images, one row per pair, with the images at its ends.

    Latents are samples of the two posteriors. The path between them is straight, also that between two conditions.

    Args:
        model: the VAE.
        first: first image of each pair, rows with shape (N, P + C).
        second: second image of each pair, rows with shape (N, P + C).
        shape: height and width of an image.
        steps: decoded images per row.
        title: figure title.
    """
    start, end = (model.posterior(x).draw().z for x in (first, second))
    way = _between(start, end, steps)
    (one, given), (other, other_given) = model.split(first), model.split(second)
    condition = None if given is None or other_given is None else _between(given, other_given, steps)
    images = torch.cat([one[:, None], model.decode(way, condition).mean, other[:, None]], 1)
    columns = ["image", *(f"{share:.2f}" for share in torch.linspace(0, 1, steps).tolist()), "image"]
    figure = image_grid(images.flatten(0, 1), shape, steps + 2, title, column_labels=columns)
    figure.axes[0].set_xlabel("interpolation weight")
    return figure


def _between(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Return points on straight lines between points with shape (N, D), with shape (N, steps, D)."""
    return torch.stack([torch.lerp(start, end, share) for share in torch.linspace(0, 1, steps).tolist()], 1)
