"""Toy densities of one or two dimensions, which can be drawn."""

import math
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

import torch
from torch import Generator, Tensor
from typing_extensions import override

from nfvae.data.batches import Splits
from nfvae.data.datasets import Dataset
from nfvae.models import DataSpec
from nfvae.registry import check_number, check_sizes

_DRAW_SEED = 20150706
_MOST_VECTORS = 100_000_000
_HELD_OUT = 10_000  # vectors of the validation set, and of the test set


class Toy(Dataset):
    """A density to draw vectors from, the same in every run.

    Args:
        count: number of training vectors; validation and test have 10,000 each.

    Attributes:
        features: number of coordinates D of a vector.

    Raises:
        ValueError: for a count out of range.
    """

    features: ClassVar[int] = 2

    def __init__(self, count: int = 50_000) -> None:
        check_number("count", count, least=1, most=_MOST_VECTORS)
        self.count = count

    @abstractmethod
    def draw(self, count: int, generator: Generator) -> Tensor:
        """Draw vectors with shape (count, D)."""

    @override
    def find_spec(self, root: Path) -> DataSpec:
        return DataSpec((self.features,), None)

    @override
    def read(self, root: Path, download: bool) -> Splits:
        """Draw the three parts."""
        sizes = (self.count, _HELD_OUT, _HELD_OUT)
        seeded = [torch.Generator().manual_seed(_DRAW_SEED + index) for index in range(len(sizes))]
        return Splits(*map(self.draw, sizes, seeded))


class TwoMoons(Toy):
    """Two interleaved half circles with noise."""

    @override
    def draw(self, count: int, generator: Generator) -> Tensor:
        angle = math.pi * torch.rand(count, generator=generator)
        upper = torch.rand(count, generator=generator) < 0.5
        x = torch.where(upper, angle.cos(), 1 - angle.cos()) - 0.5
        y = torch.where(upper, angle.sin(), 0.5 - angle.sin()) - 0.25
        return 2 * torch.stack([x, y], 1) + 0.15 * torch.randn(count, 2, generator=generator)


class EightGaussians(Toy):
    """Eight Gaussians on a circle."""

    @override
    def draw(self, count: int, generator: Generator) -> Tensor:
        angle = 2 * math.pi / 8 * torch.randint(8, (count,), generator=generator)
        return 2.5 * torch.stack([angle.cos(), angle.sin()], 1) + 0.2 * torch.randn(count, 2, generator=generator)


class Checkerboard(Toy):
    """The dark squares of a 4x4 board over [-4, 4]²."""

    @override
    def draw(self, count: int, generator: Generator) -> Tensor:
        x = 4 * torch.rand(count, 2, generator=generator)
        row = 2 * torch.randint(2, (count,), generator=generator) + x[:, 0].floor() % 2
        return 2 * torch.stack([x[:, 0] - 2, row + x[:, 1] % 1 - 2], 1)


class Rings(Toy):
    """Three concentric rings with noise."""

    @override
    def draw(self, count: int, generator: Generator) -> Tensor:
        radius = 1 + torch.randint(3, (count,), generator=generator) + 0.1 * torch.randn(count, generator=generator)
        angle = 2 * math.pi * torch.rand(count, generator=generator)
        return radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)


class Shape(Toy):
    """Points spread evenly over a shape, given as an image mask; the longer side of the image reaches from -3 to 3."""

    @abstractmethod
    def mask(self) -> Tensor:
        """Return the mask of the shape, booleans with shape (height, width), the first row at the top."""

    @override
    def draw(self, count: int, generator: Generator) -> Tensor:
        mask = self.mask()
        height, width = mask.shape
        pixels = mask.nonzero()[torch.randint(int(mask.sum()), (count,), generator=generator)]
        row, column = (pixels + torch.rand(count, 2, generator=generator)).T
        return 6 / max(height, width) * torch.stack([column - width / 2, height / 2 - row], 1)


class Face(Shape):
    """A smiling face: a disc without eyes and mouth."""

    @override
    def mask(self) -> Tensor:
        side = torch.linspace(-1, 1, 100)
        y, x = -side[:, None], side
        eyes = ((x.abs() - 0.35) / 0.13).square() + ((y - 0.3) / 0.18).square() < 1
        radius = (x.square() + y.square()).sqrt()
        mouth = (radius - 0.6).abs() < 0.09
        return (radius < 1) & ~eyes & ~(mouth & (y < -0.15))


class Noise(Toy):
    """Standard normal vectors, for tasks that learn from no data, such as `energy`.

    Args:
        features: number of coordinates D.
        count: as for `Toy`.
    """

    def __init__(self, features: int = 2, count: int = 50_000) -> None:
        super().__init__(count)
        check_sizes(features=features)
        self.size = features

    @override
    def find_spec(self, root: Path) -> DataSpec:
        return DataSpec((self.size,), None)

    @override
    def draw(self, count: int, generator: Generator) -> Tensor:
        return torch.randn(count, self.size, generator=generator)


class Mixture(Toy):
    """Two Gaussians on the line: 0.4 N(-2, 0.5²) + 0.6 N(1.5, 1)."""

    features = 1

    @override
    def draw(self, count: int, generator: Generator) -> Tensor:
        left = torch.rand(count, generator=generator) < 0.4
        noise = torch.randn(count, generator=generator)
        return torch.where(left, -2 + 0.5 * noise, 1.5 + noise)[:, None]
