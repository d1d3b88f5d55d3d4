"""Sizes of images that convolutions halve and double."""

from collections.abc import Sequence


def channels_and_sides(shape: Sequence[int]) -> tuple[int, tuple[int, int]]:
    """Return the channels, and height and width, of images for convolutions.

    Args:
        shape: height and width of gray images, or channels, height and width.

    Raises:
        ValueError: for any other shape.
    """
    if len(shape) not in (2, 3):
        raise ValueError(f"convolutions take images of height and width; these data have shape {list(shape)}")
    return (1 if len(shape) == 2 else shape[0]), (shape[-2], shape[-1])


def halved(sides: tuple[int, int]) -> tuple[int, int]:
    """Return half of height and width, rounded up, as a convolution of stride 2 does."""
    return (sides[0] + 1) // 2, (sides[1] + 1) // 2
