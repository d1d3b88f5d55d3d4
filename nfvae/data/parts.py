"""Find the parts of a data set by their names, and draw those that are missing."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from nfvae.data.batches import SPLITS, Splits
from nfvae.registry import check_number

_SPELLINGS = {"train": ("training",), "val": ("valid", "validation"), "test": ("testing",)}
_PARTS = {spelling: part for part in SPLITS for spelling in (part, *_SPELLINGS[part])}
_EXPECTED = "expected train, val and test, or train and test, or none of these names to have all split"


def part_named(name: str) -> str | None:
    """Return the part of a data set that a name stands for, in capitals too; None for other names.

    Example:
        >>> part_named("Validation"), part_named("x_train"), part_named("test_images"), part_named("test_masks")
        ('val', 'train', 'test', None)
    """
    return _PARTS.get(name.lower().removeprefix("x_").removesuffix("_images"))


def is_label_of_part(name: str) -> bool:
    """Return whether a name stands for the labels of a part, such as y_train or train_labels."""
    bare = name.lower().removeprefix("y_").removesuffix("_labels")
    return bare != name.lower() and bare in _PARTS


def find_parts(names: Iterable[str], source: object) -> dict[str, str]:
    """Find the parts of a data set by their names.

    Args:
        names: all names in the source.
        source: path of the data, for the message.

    Returns:
        The name of each part, without `val` if there is none; empty if no name stands for a part.

    Raises:
        ValueError: if only some names stand for parts, two for the same part, or there is no train or no test.
    """
    found: dict[str, str] = {}
    others = []
    for name in names:
        part = part_named(name)
        if part is None:
            others.append(name)
        elif part in found:
            raise ValueError(f"{source} holds {found[part]} and {name}, which both stand for {part}: remove one")
        else:
            found[part] = name
    if not found:
        return {}
    held = f"{source} holds {', '.join(found.values())}"
    if others:
        raise ValueError(f"{held} beside {', '.join(others[:5])}: rename or remove these; {_EXPECTED}")
    if missing := [part for part in ("train", "test") if part not in found]:
        raise ValueError(f"{held}, but no {' and no '.join(missing)}; {_EXPECTED}")
    return found


def complete(parts: Mapping[str, Tensor], shares: Sequence[float], seed: int, source: object) -> Splits:
    """Return the three parts of a data set; a missing validation part is drawn from the training part.

    Args:
        parts: tensors with shape (N, ...) by the names of parts.
        shares: shares of the three parts; the ratio of the first two sets the size of a drawn validation part.
        seed: random seed of the draw.
        source: path of the data, for the message.

    Raises:
        ValueError: for fewer images than parts.
    """
    if "val" in parts:
        return Splits(**parts)
    share = shares[1] / (shares[0] + shares[1])
    train, val = _drawn(parts["train"], [1 - share, share], seed, source)
    rank_zero_info(f"{source} holds no val: it is {len(val)} of the {len(parts['train'])} training images, at random")
    return Splits(train, val, parts["test"])


def drawn_splits(images: Tensor, shares: Sequence[float], seed: int, source: object) -> Splits:
    """Cut images with shape (N, ...) into training, validation and test parts, at random.

    Args:
        images: all images.
        shares: shares of the three parts, which add up to 1.
        seed: random seed of the draw.
        source: path of the data, for the message.

    Raises:
        ValueError: for shares that do not add up, or fewer images than parts.
    """
    check_shares(shares)
    return Splits(*_drawn(images, shares, seed, source))


def _drawn(images: Tensor, shares: Sequence[float], seed: int, source: object) -> list[Tensor]:
    ends = [round(sum(shares[: place + 1]) * len(images)) for place in range(len(shares))]
    parts = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).tensor_split(ends[:-1])
    if min(map(len, parts)) < 1:
        raise ValueError(f"{source} has {len(images)} images, too few for shares {[round(s, 6) for s in shares]}")
    return [images[part] for part in parts]


def check_shares(shares: Collection[float]) -> None:
    """Refuse shares of a split unless they are three positive numbers that add up to 1.

    Raises:
        ValueError: for other shares.
    """
    if not isinstance(shares, list | tuple) or len(shares) != len(SPLITS):
        raise ValueError(f"split takes the shares of {', '.join(SPLITS)}, as [0.8, 0.1, 0.1]; got {shares!r}")
    for share in shares:
        check_number("a share of split", share, above=0, most=1)
    if abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"the shares of split should add up to 1; got {list(shares)}")
