"""The columns of a table: which are values, labels or conditions, and what is odd about them."""

from collections.abc import Sequence

import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from nfvae.registry import unknown

_FINE = 1e-6  # deviation relative to the mean, below which float32 has few digits left


def split_columns(names: Sequence[str], condition: Sequence[str], source: object) -> tuple[list[int], list[int]]:
    """Return the indices of the columns that are values, and of those that are conditions.

    Raises:
        ValueError: for an unknown column, or if no column is left.
    """
    check_named(condition, names, source)
    conditions = [list(names).index(name) for name in condition]
    values = [place for place in range(len(names)) if place not in conditions]
    if not values:
        raise ValueError(f"every column of {source} is a condition: none is left to be modeled")
    return values, conditions


def check_named(chosen: Sequence[str], names: Sequence[str], source: object) -> None:
    """Refuse columns that are not there, or named twice.

    Raises:
        ValueError: for such columns.
    """
    for place, name in enumerate(chosen):
        if name not in names:
            raise ValueError(f"{source}: {unknown('column', name, names)}")
        if name in chosen[:place]:
            raise ValueError(f"column {name} of {source} is named twice")


def check_columns(x: Tensor, names: Sequence[str], source: object, is_training: bool = True) -> None:
    """Refuse columns that no model can use.

    Args:
        x: values with shape (N, D), float64, NaN where missing.
        names: names of the columns.
        source: path of the data.
        is_training: whether a model learns from them; a trained one takes columns without values.

    Raises:
        ValueError: for infinite numbers, numbers beyond float32, a column without any value, or one that varies too
            little for float32.
    """
    missing = x.isnan()
    if x.isinf().any():
        raise ValueError(f"{source} holds infinite numbers in {_listed(_named(x.isinf().any(0), names))}")
    if large := _named((x.abs() > torch.finfo(torch.float32).max).any(0), names):
        raise ValueError(f"{source} holds numbers too large for float32 in {_listed(large)}: divide these columns")
    if not is_training:
        return
    if empty := _named(missing.all(0), names):
        raise ValueError(f"{source} has no value at all in {_listed(empty)}: leave out these columns")
    spread, size = _spread(x), torch.where(missing, 0, x).abs().amax(0)
    if coarse := _named((spread > 0) & (spread < _FINE * size), names):
        raise ValueError(f"{source} varies too little for float32 in {_listed(coarse)}: subtract an offset there")


def report_columns(x: Tensor, names: Sequence[str], source: object) -> None:
    """Report columns that are constant or have missing values; `check_columns` describes the arguments."""
    if constant := _named(_spread(x) == 0, names):
        rank_zero_info(f"{source}: constant columns, whose density says nothing: {_listed(constant)}")
    if (missing := x.isnan()).any():
        counts = {names[place]: int(count) for place, count in enumerate(missing.sum(0).tolist()) if count}
        said = _listed([f"{name} ({count:,})" for name, count in counts.items()])
        rank_zero_info(f"{source}: missing values of {len(x):,} rows: {said}")


def _spread(x: Tensor) -> Tensor:
    missing = x.isnan()
    return torch.where(missing, -torch.inf, x).amax(0) - torch.where(missing, torch.inf, x).amin(0)


def _named(chosen: Tensor, names: Sequence[str]) -> list[str]:
    return [names[place] for place in chosen.nonzero().flatten().tolist()]


def _listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
