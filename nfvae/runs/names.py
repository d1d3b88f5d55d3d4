"""Names of the classes and columns of the data that a run was trained on."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from nfvae.data.module import CLASS_SHARES, CLASSES, COLUMNS
from nfvae.models import DataSpec
from nfvae.registry import check_choice, check_number


class DataNames(NamedTuple):
    """Names in the training data.

    Attributes:
        classes: names of the classes; empty without labels.
        class_shares: share of each class in the training part.
        columns: names of the values of a vector; empty for images.
        condition: names of the columns that are conditions.
    """

    classes: Sequence[str]
    class_shares: Sequence[float]
    columns: Sequence[str]
    condition: Sequence[str]

    @classmethod
    def of(cls, settings: Mapping[str, Any], spec: DataSpec) -> "DataNames":
        """Return the names in the settings of a data module; columns without a name are x0, x1 and so on."""
        columns = settings.get(COLUMNS) or [f"x{place}" for place in range(spec.size)]
        classes, shares = settings.get(CLASSES) or [], settings.get(CLASS_SHARES) or []
        return cls(classes, shares, columns if len(spec.shape) == 1 else [], settings.get("condition") or [])

    def condition_of(self, label: str | None, values: Sequence[float] | None) -> Tensor | None:
        """Return a condition with shape (C,): a label by its name, or given values; None if neither is given.

        Raises:
            ValueError: for data without conditions, an unknown label, or another number of values.
        """
        if label is None and values is None:
            return None
        if label is not None:
            if not self.classes:
                raise ValueError("the run was trained without labels: it takes no --label")
            check_choice("label", label, self.classes)
            return one_hot(torch.tensor(list(self.classes).index(label)), len(self.classes)).float()
        count = len(self.condition)
        if self.classes or not count or len(values or ()) != count:
            numbers = f"{count} numbers ({', '.join(self.condition)})" if count else "no condition"
            raise ValueError(f"the run takes {'--label' if self.classes else numbers}; got --condition {values}")
        for name, value in zip(self.condition, values or (), strict=True):
            check_number(f"--condition {name}", value)
        return torch.tensor(values)
