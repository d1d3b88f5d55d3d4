"""Labels: whole numbers, names or folders, as numbers of classes."""

from collections.abc import Sequence

import torch
from torch import Tensor

_MOST_CLASSES = 10_000


def class_names(labels: Sequence[Tensor]) -> list[str]:
    """Return the names of the classes in tensors of whole numbers, in increasing order; missing ones are left out.

    Raises:
        ValueError: for labels that are not whole numbers, or too many classes.
    """
    if not labels:
        return []
    values = torch.cat([_whole(each).flatten() for each in labels])
    names = [str(value) for value in sorted({*values[values >= 0].tolist()})]
    if len(names) > _MOST_CLASSES:
        raise ValueError(f"there are {len(names):,} different labels, more than {_MOST_CLASSES:,} classes")
    return names


def as_classes(labels: Tensor, names: Sequence[str], source: object) -> Tensor:
    """Return the class of each label, its index among the names, with shape (N,); -1 where the label is missing.

    Raises:
        ValueError: for labels of another shape, or that are not whole numbers.
    """
    values = _whole(labels)
    values = values.squeeze(-1) if values.ndim == 2 and values.shape[1] == 1 else values
    if values.ndim != 1:
        raise ValueError(f"{source} should hold labels with shape (N,); got {tuple(labels.shape)}")
    known = torch.tensor([int(name) for name in names])
    classes = torch.searchsorted(known, values.clamp_min(0))
    return torch.where(values < 0, -1, classes)


def check_whole(names: Sequence[str], source: str) -> None:
    """Refuse names of classes that are fractions, as of a column of real numbers.

    Raises:
        ValueError: for such names.
    """
    for name in names:
        try:
            is_fraction = not float(name).is_integer()
        except ValueError:
            continue
        if is_fraction:
            raise ValueError(f"{source} should hold labels, whole numbers or names; got {name}")


def _whole(labels: Tensor) -> Tensor:
    """Return labels as whole numbers; negative ones and NaN, which stand for missing ones, as -1."""
    values = labels.double()
    missing = values.isnan() | (values < 0)
    if not (missing | (values == values.round())).all():
        raise ValueError("labels should be whole numbers from 0; got fractions")
    return torch.where(missing, -1, values).long()
