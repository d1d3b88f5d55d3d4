"""Pictures of images: samples, reconstructions, what a latent does."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nfvae.models import VAE
from nfvae.plots.canvas import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def image_grid(images: Tensor, shape: tuple[int, int], columns: int = 8) -> "Figure":
    """Draw images row by row, black ink on white.

    Args:
        images: pixel values in [0, 1] with shape (N, P).
        shape: height and width of an image.
        columns: images a row.
    """
    from torchvision.utils import make_grid

    grid = make_grid(images.cpu().view(-1, 1, *shape), nrow=columns, padding=1, pad_value=0.5)[0]
    height, width = grid.shape
    figure = new_figure(6, 6 * height / width, layout=None)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.imshow(1 - grid, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_axis_off()
    return figure


def reconstruction_grid(x: Tensor, reconstructions: Tensor, shape: tuple[int, int], columns: int = 8) -> "Figure":
    """Draw images and under each row of them their reconstructions; both with shape (N, P)."""
    pairs = torch.stack([x.view(-1, columns, x.shape[-1]), reconstructions.view(-1, columns, x.shape[-1])], 1)
    return image_grid(pairs.flatten(0, 2), shape, columns)


@torch.no_grad()
def latent_traversal(
    model: VAE, z: Tensor, latents: list[int], shape: tuple[int, int], reach: float = 3.0, steps: int = 9
) -> "Figure":
    """Decode a point while one latent at a time goes from -reach to reach, a row for each.

    Args:
        model: the VAE.
        z: the point, with shape (D,).
        latents: which latents move.
        shape: height and width of an image.
        reach: of the prior's standard deviations.
        steps: images a row.
    """
    points = z.repeat(len(latents), steps, 1)
    for row, latent in enumerate(latents):
        points[row, :, latent] = torch.linspace(-reach, reach, steps)
    return image_grid(model.decoder(points).mean.flatten(0, 1), shape, steps)
