"""The base classes of monotone scalar maps."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor
from typing_extensions import override

Shapes = Mapping[str, Sequence[int]]


class Univariate(ABC):
    """An increasing map of the real line onto itself, applied to each coordinate with its own parameters.

    The constructor takes the unconstrained tensors that `shapes` names, each with shape (*, *shape, D), then options;
    it refuses an option out of range. Zeros give the identity, unless documented otherwise.

    Attributes:
        steep: whether large parameters make slopes so small that the inverse is lost in rounding.
    """

    steep: bool = False

    @staticmethod
    @abstractmethod
    def shapes(*args: Any, **sizes: Any) -> Shapes:
        """Return the shape of each unconstrained tensor of one coordinate, by the constructor's argument name.

        An option that sets a shape, such as a spline's number of bins, is an argument here and not of the
        constructor, which infers it from the tensors.
        """

    @abstractmethod
    def forward_and_log_slope(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z with shape (*, D) to y and log dy/dz, both with shape (*, D)."""

    @abstractmethod
    def inverse_and_log_slope(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Map y with shape (*, D) to z and log dz/dy, both with shape (*, D), differentiably."""

    @classmethod
    def from_flat(cls, values: Tensor, shapes: Shapes, **options: Any) -> Self:
        """Build the maps of D coordinates from unconstrained numbers with shape (*, count, D), cut into `shapes`."""
        pieces = torch.split(values, [math.prod(shape) for shape in shapes.values()], -2)
        own = {
            name: piece.reshape(*values.shape[:-2], *shape, values.shape[-1])
            for (name, shape), piece in zip(shapes.items(), pieces, strict=True)
        }
        return cls(**own, **options)


class ScaleAndShift(Univariate):
    """An affine map of each coordinate; a subclass computes scale and shift from its parameters.

    - *Forward*: y = a z + b.
    - *Log-slope*: log a.
    - *Inverse*: z = (y - b)/a.
    - *Constraint*: a > 0.
    """

    scale: Tensor
    log_scale: Tensor
    shift: Tensor

    @override
    def forward_and_log_slope(self, z: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.addcmul(self.shift, self.scale, z)
        return y, self.log_scale.expand_as(y)

    @override
    def inverse_and_log_slope(self, y: Tensor) -> tuple[Tensor, Tensor]:
        z = (y - self.shift) / self.scale
        return z, -self.log_scale.expand_as(z)
