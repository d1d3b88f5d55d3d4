"""The form of the data and the base class of likelihoods."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent
from typing_extensions import override

_OFF_LEVEL = 1e-3  # distance from a level, in levels, that counts as rounding


class DataSpec(NamedTuple):
    """The form of a datum.

    A model takes a datum as one row of numbers: the P values of x, then the numbers that it is conditioned on. Values
    of data with levels are scaled to [0, 1].

    Attributes:
        shape: shape of x: (28, 28) for gray images, (3, 32, 32) for color images, (8,) for vectors.
        levels: number of values per element: 2 for binary data, 256 for 8-bit data; None for real numbers.
        conditions: C, numbers per datum that a model can be conditioned on, such as one per class; 0 for none.
        missing: whether values can be missing; they are NaN.
    """

    shape: tuple[int, ...]
    levels: int | None = 2
    conditions: int = 0
    missing: bool = False

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "DataSpec":
        """Return the form of the data from the settings of a model; those of a density lack the levels."""
        named = {name: settings[name] for name in cls._fields if name in settings}
        return cls(**named | {"shape": tuple(settings["shape"]), "levels": settings.get("levels")})

    @property
    def size(self) -> int:
        """P, the number of elements of x."""
        return math.prod(self.shape)

    @property
    def width(self) -> int:
        """P + C, the numbers of a row."""
        return self.size + self.conditions

    @property
    def noun(self) -> str:
        """Noun for the data, for messages."""
        return "images" if len(self.shape) > 1 else "vectors"

    @override
    def __str__(self) -> str:
        kind = {2: "", None: " of real numbers"}.get(self.levels, f" with {self.levels} levels")
        condition = f", conditioned on {self.conditions} numbers" if self.conditions else ""
        return f"{list(self.shape)}{kind}{condition}{', some missing' if self.missing else ''}"


class Statistics(NamedTuple):
    """Statistics of each element of the training data, as the model sees it.

    Attributes:
        mean: mean of the observed values with shape (P,).
        deviation: standard deviation of the observed values with shape (P,).
    """

    mean: Tensor
    deviation: Tensor


class Likelihood(nn.Module, ABC):
    """Turn a decoder's numbers into p(x|z). The constructor takes `spec`, then its options.

    Its parameters, such as a learned scale, belong to the model.

    Args:
        spec: form of the data; None if any are accepted.

    Attributes:
        outputs: numbers that the decoder gives per element of x; 0 if it gives p(x|z) itself.
        is_density: whether p(x|z) is a density of real numbers, which can exceed 1, so that log p(x) can be above 0.
        fill: a value in the support, which stands for missing ones; it has no effect.
    """

    outputs: int = 1
    is_density: bool = False
    fill: ClassVar[float] = 0.0

    def __init__(self, spec: DataSpec | None) -> None:
        super().__init__()
        self.spec = spec

    @abstractmethod
    @override
    def forward(self, raw: Tensor) -> Distribution:
        """Return p(x|z) with batch shape (*) and event shape (P,) for numbers with shape (*, outputs, P)."""

    @abstractmethod
    def check(self, x: Tensor) -> None:
        """Refuse data with shape (B, P) outside the support of p(x|z).

        Raises:
            ValueError: for data outside it.
        """

    def start(self, statistics: Statistics) -> Tensor | None:
        """Return the decoder's initial output bias with shape (outputs, P); None for zeros."""
        return None

    def log_prob(self, density: Distribution, x: Tensor) -> Tensor:
        """Return log p(x|z) of the observed values of x with shape (B, P), in nats; shape (*), the batch shape.

        Raises:
            ValueError: for values that are missing under a density of dependent elements.
        """
        if self.spec is None or not self.spec.missing:
            return density.log_prob(x)
        if not isinstance(density, Independent) or density.reinterpreted_batch_ndims != 1:
            raise ValueError(f"{type(density).__name__} gives no density of the observed values alone")
        missing = x.isnan()
        each = density.base_dist.log_prob(torch.where(missing, self.fill, x))
        observed: Tensor = torch.where(missing, 0, each).sum(-1)
        return observed


def check_levels(spec: DataSpec, likelihood: str, instead: str) -> int:
    """Return the number of levels of discrete data.

    Raises:
        ValueError: for real numbers.
    """
    if spec.levels is None:
        raise ValueError(
            f"the likelihood {likelihood} takes data with levels; got {spec.noun} of shape {spec}: "
            f"take --model.likelihood {instead}"
        )
    return spec.levels


def check_on_levels(x: Tensor, levels: int) -> None:
    """Refuse values that are none of the levels 0, 1/(levels - 1) ... 1.

    Raises:
        ValueError: for such values.
    """
    places = x * (levels - 1)
    if not ((x >= 0) & (x <= 1) & ((places - places.round()).abs() < _OFF_LEVEL)).all():
        raise ValueError(
            f"expected values k/{levels - 1}, k from 0 to {levels - 1}; got values from {x.min():g} to {x.max():g}"
        )


def check_in_unit(x: Tensor) -> None:
    """Refuse values outside [0, 1].

    Raises:
        ValueError: for such values.
    """
    if not ((x >= 0) & (x <= 1)).all():
        raise ValueError(f"expected values from 0 to 1; got values from {x.min():g} to {x.max():g}")
