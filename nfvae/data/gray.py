"""Images of any kind as gray ones of 8 bits, and a data set cut into three parts."""

from collections.abc import Sequence

import torch
from torch import Tensor

from nfvae.data.batches import SPLITS, Splits
from nfvae.registry import check_number

_FEWEST_GRAYS = 64  # below which the largest of whole numbers is taken for that of fewer bits


def as_gray(images: Tensor, source: object) -> Tensor:
    """Turn images into uint8 with shape (N, height, width), values 0 ... 255.

    Taken are booleans, zeros and ones of any type, numbers from 0 to 1 that are not all whole, and whole ones from 0 to
    255; with shape (N, height, width), or with one channel in the second or the last dimension.

    Args:
        images: the images.
        source: where they come from, for the message.

    Raises:
        ValueError: for other images, and for whole numbers whose largest says that they are of fewer bits.
    """
    if images.layout != torch.strided or images.device.type == "meta" or images.is_quantized:
        raise ValueError(f"{source} is no plain tensor")
    if images.ndim == 4 and 1 in (images.shape[1], images.shape[3]):
        images = images.squeeze(1 if images.shape[1] == 1 else 3)
    if images.ndim != 3 or not images.numel():
        raise ValueError(f"{source} should hold gray images, shape (N, height, width); got {tuple(images.shape)}")
    if images.is_complex():
        raise ValueError(f"{source} holds complex numbers")
    values = images.double()
    least, most = float(values.min()), float(values.max())
    whole = bool((values == values.round()).all())
    if not (least >= 0 and (most <= 1 or (most <= 255 and whole))):
        raise ValueError(f"{source} should hold 0 and 1, gray from 0 to 1, or 0 ... 255; got {least:g} to {most:g}")
    if 1 < most < _FEWEST_GRAYS:
        raise ValueError(f"{source} holds 0 ... {most:g}, nearly black as 0 ... 255: divide it by its largest value")
    return (values * 255 if most <= 1 else values).round().to(torch.uint8)


def drawn_splits(images: Tensor, shares: Sequence[float], seed: int, source: object) -> Splits:
    """Cut images with shape (N, ...) into training, validation and test parts, at random.

    Args:
        images: all of them.
        shares: of the parts, which add up to 1.
        seed: of the order.
        source: where they come from, for the message.

    Raises:
        ValueError: for shares that do not add up, or fewer images than parts.
    """
    check_shares(shares)
    ends = [round(sum(shares[: place + 1]) * len(images)) for place in range(len(SPLITS))]
    parts = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).tensor_split(ends[:-1])
    if min(map(len, parts)) < 1:
        raise ValueError(f"{source} has {len(images)} images, too few for shares {list(shares)}")
    return Splits(*(images[part] for part in parts))


def check_shares(shares: Sequence[float]) -> None:
    """Refuse shares of a split that are not three above 0 which add up to 1.

    Raises:
        ValueError: for such shares.
    """
    if isinstance(shares, str) or len(shares) != len(SPLITS):
        raise ValueError(f"split takes the shares of {', '.join(SPLITS)}, as [0.8, 0.1, 0.1]; got {shares!r}")
    for share in shares:
        check_number("a share of split", share, above=0, most=1)
    if abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"the shares of split should add up to 1; got {list(shares)}")
