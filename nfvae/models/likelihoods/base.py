"""The form of the data and the base class of likelihoods."""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn
from torch.distributions import Distribution
from typing_extensions import override


class DataSpec(NamedTuple):
    """The form of a datum.

    Attributes:
        shape: shape of a datum: (28, 28) for gray images, (3, 32, 32) for color images, (8,) for vectors.
        levels: number of values per element: 2 for binary data, 256 for 8-bit data; None for real numbers.
    """

    shape: tuple[int, ...]
    levels: int | None = 2

    @property
    def size(self) -> int:
        """P, the number of elements."""
        return math.prod(self.shape)

    @property
    def noun(self) -> str:
        """Noun for the data, for messages."""
        return "images" if len(self.shape) > 1 else "vectors"

    @override
    def __str__(self) -> str:
        kind = {2: "", None: " of real numbers"}.get(self.levels, f" with {self.levels} levels")
        return f"{list(self.shape)}{kind}"


class Statistics(NamedTuple):
    """Statistics of each element of the training data, as the model sees it.

    Attributes:
        mean: mean with shape (P,).
        deviation: standard deviation with shape (P,).
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
    """

    outputs: int = 1

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
