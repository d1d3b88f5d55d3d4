"""Find the parts of a data set by their names, and draw those that are missing."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_info

from nfvae.data.batches import SPLITS, Splits
from nfvae.registry import check_number, check_seed

_SPELLINGS = {"train": ("training",), "val": ("valid", "validation"), "test": ("testing",)}
_PARTS = {spelling: part for part in SPLITS for spelling in (part, *_SPELLINGS[part])}
_LABELS, _MASKS = ("y", "label", "labels"), ("mask", "masks", "observed")
_EXPECTED = "expected train and at least one of val and test, or none of these names to have all split"


def part_named(name: str) -> str | None:
    """Return the part of a data set that a name stands for, in capitals too; None for other names.

    Example:
        >>> part_named("Validation"), part_named("x_train"), part_named("test_images"), part_named("test_masks")
        ('val', 'train', 'test', None)
    """
    return _PARTS.get(name.lower().removeprefix("x_").removesuffix("_images"))


def sorted_names(names: Sequence[str], source: object) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Sort the names of arrays into those of values, labels and masks, each by part.

    A single array of values is of the part "", as are `labels` and `mask`.

    Args:
        names: names of all arrays.
        source: path of the file, for the message.

    Raises:
        ValueError: as `find_parts`, or if there is not one array of values without parts, or for labels or masks of
            other parts than the values'.
    """
    kinds: list[dict[str, str]] = [{}, {}]
    values = []
    for name in names:
        for found, part in zip(kinds, (_part_of(name, _LABELS), _part_of(name, _MASKS)), strict=True):
            if part is not None:
                found[part] = name
                break
        else:
            values.append(name)
    parts = find_parts(values, source)
    if not parts and len(values) != 1:
        held = ", ".join(names) or "nothing"
        raise ValueError(f"{source} should hold train, val and test, or one array; got {held}")
    parts = parts or {"": values[0]}
    for found in kinds:
        if lost := [name for part, name in found.items() if part not in parts]:
            raise ValueError(f"{source} holds {', '.join(lost)}, but no values for it; it has {', '.join(values)}")
    return parts, kinds[0], kinds[1]


def _part_of(name: str, nouns: Sequence[str]) -> str | None:
    """Return the part whose labels or masks a name stands for; "" for those of all data, None for other names.

    Example:
        >>> _part_of("y_train", _LABELS), _part_of("test_labels", _LABELS), _part_of("labels", _LABELS)
        ('train', 'test', '')
    """
    bare = name.lower()
    for noun in nouns:
        for short in (bare.removeprefix(f"{noun}_"), bare.removesuffix(f"_{noun}")):
            if short != bare and short in _PARTS:
                return _PARTS[short]
    return "" if bare in nouns else None


def find_parts(names: Iterable[str], source: object) -> dict[str, str]:
    """Find the parts of a data set by their names.

    Args:
        names: all names in the source.
        source: path of the data, for the message.

    Returns:
        The name of each part, without `val` or `test` if there is none; empty if no name stands for a part.

    Raises:
        ValueError: if only some names stand for parts, two for the same part, or there is no train, or nothing else.
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
    if "train" not in found or len(found) == 1:
        missing = "train" if "train" not in found else "test"
        raise ValueError(f"{held}, but no {missing}; {_EXPECTED}")
    return found


class RandomSplit:
    """Shares by which missing parts of a data set are drawn at random.

    Args:
        shares: shares of the training, validation and test parts, which add up to 1.
        seed: random seed of the draw.

    Raises:
        ValueError: for shares that do not add up to 1, or another seed than a whole number.
    """

    def __init__(self, shares: Sequence[float], seed: int) -> None:
        check_shares(shares)
        check_seed("split_seed", seed)
        self.shares, self.seed = shares, seed

    def complete(self, parts: Mapping[str, Any], source: object) -> Splits:
        """Return the three parts of a data set; a missing validation or test part is drawn from the training part.

        Args:
            parts: tensors with shape (N, ...), or a `Part` each, by the names of parts; "" for data without parts.
            source: path of the data, for the message.

        Raises:
            ValueError: for fewer data than parts.
        """
        if "" in parts:
            return Splits(*_drawn(parts[""], self.shares, self.seed, source))
        missing = next((part for part in ("val", "test") if part not in parts), None)
        if missing is None:
            return Splits(**parts)
        own = self.shares[SPLITS.index(missing)]
        share = own / (self.shares[0] + own)
        train, drawn = _drawn(parts["train"], [1 - share, share], self.seed, source)
        count = f"{len(drawn)} of the {len(parts['train'])} training data"
        rank_zero_info(f"{source} holds no {missing}: it is {count}, at random")
        return Splits(**{**parts, "train": train, missing: drawn})


def _drawn(images: Any, shares: Sequence[float], seed: int, source: object) -> list[Any]:
    ends = [round(sum(shares[: place + 1]) * len(images)) for place in range(len(shares))]
    parts = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).tensor_split(ends[:-1])
    if min(map(len, parts)) < 1:
        raise ValueError(f"{source} has {len(images)} data, too few for shares {[round(s, 6) for s in shares]}")
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
