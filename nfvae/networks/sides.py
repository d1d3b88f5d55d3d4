"""Sizes of images that convolutions halve and double."""

from collections.abc import Sequence


def height_and_width(shape: Sequence[int]) -> tuple[int, int]:
    """Return height and width of images for convolutions.

    Raises:
        ValueError: for a shape that is not height and width.
    """
    if len(shape) != 2:
        raise ValueError(f"convolutions take images of height and width; these have shape {list(shape)}")
    return shape[0], shape[1]


def halved(sides: tuple[int, int]) -> tuple[int, int]:
    """Return half of height and width, rounded up, as a convolution of stride 2 does."""
    return (sides[0] + 1) // 2, (sides[1] + 1) // 2
