"""What a datum is, and what a likelihood makes of a decoder's numbers."""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn
from torch.distributions import Distribution
from typing_extensions import override


class DataSpec(NamedTuple):
    """The form of a datum.

    Attributes:
        shape: of a datum: (28, 28) for gray images, (3, 32, 32) for colored ones, (8,) for vectors.
        levels: how many values a number can have, 2 for binary ones, 256 for those of 8 bits; None for real numbers.
    """

    shape: tuple[int, ...]
    levels: int | None = 2

    @property
    def size(self) -> int:
        """P, how many numbers a datum has."""
        return math.prod(self.shape)

    @property
    def noun(self) -> str:
        """What such data are called."""
        return "images" if len(self.shape) > 1 else "vectors"

    @override
    def __str__(self) -> str:
        kind = {2: "", None: " of real numbers"}.get(self.levels, f" with {self.levels} levels")
        return f"{list(self.shape)}{kind}"


class Statistics(NamedTuple):
    """Statistics of each number of the training data, as the model sees them.

    Attributes:
        mean: with shape (P,).
        deviation: standard deviation, with shape (P,).
    """

    mean: Tensor
    deviation: Tensor


class Likelihood(nn.Module, ABC):
    """A module that turns a decoder's numbers into p(x|z). The constructor takes `spec`; then its options.

    Its own parameters, such as a scale that is learned, belong to the model.

    Args:
        spec: of the data; None where any are taken.

    Attributes:
        outputs: how many numbers the decoder gives for each number of x; 0 where it gives p(x|z) itself.
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
        """Refuse data with shape (B, P) that p(x|z) is no density of.

        Raises:
            ValueError: for such data.
        """

    def start(self, statistics: Statistics) -> Tensor | None:
        """Return the decoder's output bias for the beginning of a training, with shape (outputs, P); None for zeros."""
        return None
