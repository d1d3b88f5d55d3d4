"""Pictures; each function returns a matplotlib Figure."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
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
