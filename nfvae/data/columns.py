"""The columns of a table: which are values, labels or conditions, and what is odd about them."""

from collections.abc import Sequence

import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from nfvae.registry import check_choice

_FINE = 1e-6  # deviation relative to the mean, below which float32 has few digits left


def split_columns(names: Sequence[str], condition: Sequence[str], source: object) -> tuple[list[int], list[int]]:
    """Return the indices of the columns that are values, and of those that are conditions.

    Raises:
        ValueError: for an unknown column, or if no column is left.
    """
    for name in condition:
        check_choice(f"column of {source}", name, names)
    conditions = [list(names).index(name) for name in condition]
    values = [place for place in range(len(names)) if place not in conditions]
    if not values:
        raise ValueError(f"every column of {source} is a condition: none is left to be modeled")
    return values, conditions


def report_columns(x: Tensor, names: Sequence[str], source: object) -> None:
    """Report columns that are constant, have missing values, or vary too little for float32.

    Args:
        x: values with shape (N, D), float64, NaN where missing.
        names: names of the columns.
        source: path of the data.

    Raises:
        ValueError: for a column without any value.
    """
    missing = x.isnan()
    if empty := [names[place] for place in missing.all(0).nonzero().flatten().tolist()]:
        raise ValueError(f"{source} has no value at all in {_listed(empty)}: leave out these columns")
    filled = torch.where(missing, torch.inf, x).amin(0), torch.where(missing, -torch.inf, x).amax(0)
    spread, size = filled[1] - filled[0], torch.where(missing, 0, x).abs().amax(0)
    for what, found in {
        "constant columns, whose density says nothing": spread == 0,
        "columns whose values differ too little for float32 (subtract an offset)": (spread > 0)
        & (spread < _FINE * size),
    }.items():
        if found.any():
            rank_zero_info(f"{source}: {what}: {_listed([names[i] for i in found.nonzero().flatten().tolist()])}")
    if missing.any():
        counts = {names[place]: int(count) for place, count in enumerate(missing.sum(0).tolist()) if count}
        said = _listed([f"{name} ({count:,})" for name, count in counts.items()])
        rank_zero_info(f"{source}: missing values of {len(x):,} rows: {said}")


def _listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
