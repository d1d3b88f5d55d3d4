"""Pictures of images: samples, reconstructions, latent traversals and interpolations."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nfvae.models import VAE
from nfvae.plots.canvas import fitted, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def height_and_width(shape: Sequence[int]) -> tuple[int, int]:
    """Return height and width of gray images, which can be drawn.

    Raises:
        ValueError: for data of another shape.
    """
    if len(shape) != 2:
        raise ValueError(f"gray images are drawn, of height and width; got data of shape {list(shape)}")
    return shape[0], shape[1]


def show(axes: "Axes", image: Tensor) -> None:
    """Draw an image with values in [0, 1] and shape (height, width), black ink on white."""
    axes.imshow(1 - image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")


@styled
def image_grid(
    images: Tensor,
    shape: Sequence[int],
    columns: int = 8,
    title: str = "",
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
) -> "Figure":
    """Draw images row by row, black ink on white.

    Args:
        images: pixel values in [0, 1] with shape (N, P).
        shape: height and width of an image.
        columns: images per row.
        title: figure title.
        row_labels: labels to the left of the rows.
        column_labels: labels below the columns.
    """
    from torchvision.utils import make_grid

    height, width = height_and_width(shape)
    grid = make_grid(images.cpu().view(-1, 1, height, width), nrow=columns, padding=1, pad_value=0.5)[0]
    rows, length = grid.shape
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
    """
    points, values = z.repeat(len(latents), steps, 1), torch.linspace(-reach, reach, steps)
    for row, latent in enumerate(latents):
        points[row, :, latent] = values
    rows = [f"z[{latent}] = {round(float(z[latent]), 1) + 0.0:+.1f}" for latent in latents]  # without -0.0
    columns = [f"{value:+.2f}" for value in values.tolist()]
    figure = image_grid(model.decode(points).mean.flatten(0, 1), shape, steps, title, rows, columns)
    figure.axes[0].set_xlabel("value of the latent (left: its value for this image)")
    return figure


@torch.no_grad()
def interpolation_grid(
    model: VAE, first: Tensor, second: Tensor, shape: Sequence[int], steps: int = 8, title: str = ""
) -> "Figure":
    """Decode points between the latents of two images, one row per pair, with the images at its ends.

    Latents are samples of the two posteriors. The path between them is straight.

    Args:
        model: the VAE.
        first: first image of each pair, with shape (N, P).
        second: second image of each pair, with shape (N, P).
        shape: height and width of an image.
        steps: decoded images per row.
        title: figure title.
    """
    start, end = (model.posterior(x).draw().z for x in (first, second))
    way = torch.stack([torch.lerp(start, end, share) for share in torch.linspace(0, 1, steps).tolist()], 1)
    images = torch.cat([first[:, None], model.decode(way).mean, second[:, None]], 1)
    columns = ["image", *(f"{share:.2f}" for share in torch.linspace(0, 1, steps).tolist()), "image"]
    figure = image_grid(images.flatten(0, 1), shape, steps + 2, title, column_labels=columns)
    figure.axes[0].set_xlabel("interpolation weight")
    return figure
