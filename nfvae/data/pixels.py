"""Convert images of any kind to 8 bits."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from nfvae.data.statistics import pieces

_FEWEST_GRAYS = 64  # whole numbers that stay below this are taken for fewer than 8 bits
_NEARLY_ONE = 1.01  # a largest value between 1 and this is taken for a rounding error


class _Range(NamedTuple):
    """The values of a tensor."""

    least: float
    most: float
    is_whole: bool


def as_pixels(images: Mapping[str, Tensor]) -> list[Tensor]:
    """Convert images to new uint8 tensors with shape (N, *), values 0 ... 255; * is the result of `image_shape`.

    Accepted are booleans, zeros and ones of any type, numbers from 0 to 1 that are not all whole, and whole numbers
    from 0 to 255. The shape is (N, height, width), or has channels in the second or the last dimension. All tensors
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


def image_shape(shape: Sequence[int], source: object) -> tuple[int, ...]:
    """Return the shape of the images in an array: height and width, or channels, height and width.

    Channels are in the dimension that is smaller than all others, the second or the last; one channel is left out.

    Raises:
        ValueError: for another shape, or channels that cannot be told from height and width.
    """
    return _layout(shape, source)[0]


def _layout(shape: Sequence[int], source: object) -> tuple[tuple[int, ...], bool]:
    """Return the shape of the images in an array, and whether their channels come last."""
    sides, count = list(shape[1:]), math.prod(list(shape))
    if len(sides) == 2 and count:
        return (sides[0], sides[1]), False
    if len(sides) != 3 or not count:
        expected = f"{source} should hold images, shape (N, height, width) or with channels too; got {tuple(shape)}"
        raise ValueError(expected + _remedy_of_shape(shape[0] if shape else 0, sides))
    first, middle, last = sides
    is_first, is_last = first == 1 or first < min(middle, last), last == 1 or last < min(first, middle)
    if not (is_first or is_last):
        raise ValueError(
            f"{source} has shape {tuple(shape)}, in which channels cannot be told from height and width: they should "
            "be fewer than both"
        )
    channels, height, width = (first, middle, last) if is_first else (last, first, middle)
    return ((height, width) if channels == 1 else (channels, height, width)), not is_first


def _remedy_of_shape(count: int, sides: Sequence[int]) -> str:
    if len(sides) == 1 and sides[0] > 1 and math.isqrt(sides[0]) ** 2 == sides[0]:
        side = math.isqrt(sides[0])
        return f": reshape it, as images.reshape({count}, {side}, {side}); vectors are read by --data.dataset vectors"
    return ": vectors are read by --data.dataset vectors" if len(sides) == 1 else ""


def _plain(images: Tensor, source: object) -> Tensor:
    if images.layout != torch.strided or images.device.type == "meta" or images.is_quantized:
        raise ValueError(f"{source} is no plain tensor")
    shape, channels_last = _layout(images.shape, source)
    if images.is_complex():
        raise ValueError(f"{source} holds complex numbers")
    return (images.movedim(-1, 1) if channels_last else images).reshape(len(images), *shape)


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
