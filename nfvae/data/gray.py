"""Convert images of any kind to 8-bit gray."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

_FEWEST_GRAYS = 64  # whole numbers that stay below this are taken for fewer than 8 bits
_NEARLY_ONE = 1.01  # a largest value between 1 and this is taken for a rounding error
_PIXELS_AT_ONCE = 2**22  # copied at once with 8 bytes per pixel


class _Range(NamedTuple):
    """The values of a tensor."""

    least: float
    most: float
    is_whole: bool


def as_gray(images: Mapping[str, Tensor]) -> list[Tensor]:
    """Convert images to new uint8 tensors with shape (N, height, width), values 0 ... 255.

    Accepted are booleans, zeros and ones of any type, numbers from 0 to 1 that are not all whole, and whole numbers
    from 0 to 255. The shape is (N, height, width), or has one channel in the second or the last dimension. All tensors
    share one scale: if one of them reaches 255, zeros and ones in another are nearly black.

    Args:
        images: the parts of a data set, by their source, which messages name.

    Raises:
        ValueError: for other images, and for whole numbers whose largest value suggests fewer than 8 bits.
    """
    plain = {source: _plain(each, source) for source, each in images.items()}
    ranges = {source: _range_of(each) for source, each in plain.items()}
    scale = _common_scale(ranges)
    _check_booleans(plain, ranges)
    return [_scaled(each, scale) for each in plain.values()]


def as_tensor(values: Any, source: object) -> Tensor:
    """Make a tensor of an array in any byte order, or of nested lists.

    Raises:
        ValueError: for values that are not numbers, or rows of different lengths.
    """
    if isinstance(values, Tensor):
        return values.detach()
    try:
        array = np.asarray(values)
        return torch.as_tensor(np.ascontiguousarray(array, array.dtype.newbyteorder("=")))
    except (ValueError, TypeError) as error:
        said = " ".join(str(error).split()).partition(". ")[0]
        raise ValueError(f"{source} is no array of numbers: {said}") from error


def gray_shape(shape: Sequence[int], source: object) -> tuple[int, int, int]:
    """Return number, height and width of the images in an array, which may have one channel.

    Raises:
        ValueError: for another shape.
    """
    count, *sides = shape or [0]
    if len(sides) == 3 and 1 in (sides[0], sides[2]):
        sides.pop(0 if sides[0] == 1 else 2)
    if len(sides) != 2 or not math.prod(shape):
        expected = f"{source} should hold gray images, shape (N, height, width); got {tuple(shape)}"
        raise ValueError(expected + _remedy_of_shape(count, sides))
    return count, sides[0], sides[1]


def _remedy_of_shape(count: int, sides: Sequence[int]) -> str:
    if len(sides) == 1 and sides[0] > 1 and math.isqrt(sides[0]) ** 2 == sides[0]:
        side = math.isqrt(sides[0])
        return f": reshape it, as images.reshape({count}, {side}, {side})"
    if len(sides) == 3 and {3, 4} & {sides[0], sides[2]}:
        return ": colors are not modeled, take the mean over the channels"
    return ""


def pieces(images: Tensor) -> Iterator[Tensor]:
    """Split images with shape (N, ...) into pieces whose copies in another dtype take little memory."""
    return iter(torch.split(images, max(1, _PIXELS_AT_ONCE // max(1, images[:1].numel()))))


def mean_image(images: Tensor) -> Tensor:
    """Return the mean over images with shape (N, ...), in float64."""
    total = torch.zeros(images.shape[1:], dtype=torch.float64, device=images.device)
    for piece in pieces(images):
        total += piece.double().sum(0)
    return total / len(images)


def _plain(images: Tensor, source: object) -> Tensor:
    if images.layout != torch.strided or images.device.type == "meta" or images.is_quantized:
        raise ValueError(f"{source} is no plain tensor")
    shape = gray_shape(images.shape, source)
    if images.is_complex():
        raise ValueError(f"{source} holds complex numbers")
    return images.reshape(shape)


def _range_of(images: Tensor) -> _Range:
    least, most, is_whole = math.inf, -math.inf, True
    has_fractions = images.is_floating_point()
    for piece in pieces(images):
        values = piece if piece.dtype == torch.uint8 else piece.double()
        low, high = map(float, torch.aminmax(values))
        if not math.isfinite(low + high):
            return _Range(low, high, is_whole=False)
        least, most = min(least, low), max(most, high)
        is_whole = is_whole and not (has_fractions and bool((values != values.round()).any()))
    return _Range(least, most, is_whole)


def _common_scale(ranges: Mapping[str, _Range]) -> int:
    """Return the factor that scales the values to 0 ... 255, either 255 or 1."""
    for source, (least, most, _) in ranges.items():
        _check_ends(source, least, most)
    brightest = max(ranges, key=lambda source: ranges[source].most)
    most = ranges[brightest].most
    if most <= 1:
        return 255
    for source, found in ranges.items():
        if found.is_whole:
            continue
        if found.most <= 1:
            raise ValueError(
                f"{source} goes from {found.least:g} to {found.most:g}, {brightest} to {most:g}: give all one scale"
            )
        if found.most <= _NEARLY_ONE:
            raise ValueError(f"{source} goes to {found.most:.9g}, above 1: clip it to 0 ... 1")
        raise ValueError(
            f"{source} goes from {found.least:g} to {found.most:g}, but not all are whole numbers: "
            "round them where they stand for 0 ... 255, or scale them to 0 ... 1"
        )
    if most < _FEWEST_GRAYS:
        raise ValueError(f"{brightest} holds 0 ... {most:g}, nearly black as 0 ... 255: divide it by its largest value")
    return 1


def _check_ends(source: str, least: float, most: float) -> None:
    expected = f"{source} should hold 0 and 1, gray from 0 to 1, or 0 ... 255; got"
    if not (math.isfinite(least) and math.isfinite(most)):
        raise ValueError(f"{expected} numbers that are not finite")
    if least < 0:
        remedy = ": scale it, as (x + 1) / 2" if least >= -1 and most <= 1 else ""
        raise ValueError(f"{expected} negative numbers, {least:g} to {most:g}{remedy}")
    if most > 255:
        limit = next((2**bits - 1 for bits in (10, 12, 16, 32) if most < 2**bits), most)
        raise ValueError(f"{expected} {least:g} to {most:g}: divide it by the value of full white, as {limit:g}")


def _check_booleans(images: Mapping[str, Tensor], ranges: Mapping[str, _Range]) -> None:
    """Look for zeros and ones beside 0 ... 255: refuse booleans, and report numbers as nearly black."""
    brightest = max(ranges, key=lambda source: ranges[source].most)
    if (most := ranges[brightest].most) <= 1:
        return
    for source, found in ranges.items():
        if images[source].dtype == torch.bool:
            raise ValueError(f"{source} holds true and false, {brightest} goes to {most:g}: give all one scale")
        if found.most == 1:
            rank_zero_info(f"{source} holds 0 and 1, nearly black, as {brightest} goes to {most:g}")


def _scaled(images: Tensor, scale: int) -> Tensor:
    """Copy images to uint8, even if they are uint8 already: a file that they are mapped from may change."""
    gray = torch.empty(images.shape, dtype=torch.uint8, device=images.device)
    place = 0
    for piece in pieces(images):
        is_copied = piece.dtype == torch.uint8 and scale == 1
        gray[place : place + len(piece)] = piece if is_copied else (piece.double() * scale).round()
        place += len(piece)
    return gray
