"""What a monotone scalar map is."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor


class Univariate(ABC):
    """An increasing map of the real line onto itself, applied to each coordinate with parameters of its own.

    The constructor takes the unconstrained tensors that `shapes` names, each with shape (*, *shape, D), then options;
    it refuses an option out of range.

    Attributes:
        shapes: shape of each unconstrained parameter of one coordinate, by argument name.
    """

    shapes: ClassVar[Mapping[str, Sequence[int]]]

    @abstractmethod
    def forward_and_log_slope(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z with shape (*, D) to y and log dy/dz, both with shape (*, D)."""

    @abstractmethod
    def inverse_and_log_slope(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Map y with shape (*, D) to z and log dz/dy, both with shape (*, D), differentiably."""

    @classmethod
    def count(cls) -> int:
        """Return how many numbers parametrize the map of one coordinate."""
        return sum(math.prod(shape) for shape in cls.shapes.values())

    @classmethod
    def from_flat(cls, values: Tensor, **options: Any) -> Self:
        """Build the maps of D coordinates from unconstrained numbers with shape (*, count, D)."""
        pieces = torch.split(values, [math.prod(shape) for shape in cls.shapes.values()], -2)
        own = {
            name: piece.reshape(*values.shape[:-2], *shape, values.shape[-1])
            for (name, shape), piece in zip(cls.shapes.items(), pieces, strict=True)
        }
        return cls(**own, **options)


class ScaleAndShift(Univariate):
    """An affine map of each coordinate; a subclass says how scale and shift follow from its parameters.

    - *Forward*: y = a z + b.
    - *Log-slope*: log a.
    - *Inverse*: z = (y - b)/a.
    - *Constraint*: a > 0.
    """

    scale: Tensor
    shift: Tensor

    def forward_and_log_slope(self, z: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        return torch.addcmul(self.shift, self.scale, z), self.scale.log()

    def inverse_and_log_slope(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        return (y - self.shift) / self.scale, -self.scale.log()
