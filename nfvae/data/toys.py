"""Toy densities of one or two dimensions, which can be drawn."""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import pytorch_lightning as pl
import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader
from typing_extensions import override

from nfvae.data.batches import Splits, loader
from nfvae.models import DataSpec
from nfvae.registry import Registry, check_number, check_seed, check_sizes, save_plainly

_DRAW_SEED = 20150706
_MOST_VECTORS = 100_000_000
_HELD_OUT = 10_000  # vectors of the validation set, and of the test set


class Toy(ABC):
    """A density to draw vectors from.

    Attributes:
        features: number of coordinates D of a vector.
    """

    features: ClassVar[int] = 2

    @abstractmethod
    def draw(self, count: int, generator: Generator) -> Tensor:
        """Draw vectors with shape (count, D)."""


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


class Mixture(Toy):
    """Two Gaussians on the line: 0.4 N(-2, 0.5²) + 0.6 N(1.5, 1)."""

    features = 1

    @override
    def draw(self, count: int, generator: Generator) -> Tensor:
        left = torch.rand(count, generator=generator) < 0.4
        noise = torch.randn(count, generator=generator)
        return torch.where(left, -2 + 0.5 * noise, 1.5 + noise)[:, None]


TOYS = Registry(
    "toy dataset",
    Toy,  # type: ignore[type-abstract]
    {
        "checkerboard": "nfvae.data.toys:Checkerboard",
        "eight_gaussians": "nfvae.data.toys:EightGaussians",
        "face": "nfvae.data.toys:Face",
        "mixture": "nfvae.data.toys:Mixture",
        "rings": "nfvae.data.toys:Rings",
        "two_moons": "nfvae.data.toys:TwoMoons",
    },
)


class ToyVectors(pl.LightningDataModule):
    """Samples of a toy density in batches of shape (B, D), the same in every run.

    Args:
        dataset: name of the toy density: `two_moons`, `eight_gaussians`, `checkerboard`, `rings`, `face`, the
            one-dimensional `mixture`, or "package.module:Class" of your own.
        count: number of training vectors; validation and test have 10,000 each.
        batch_size: training vectors per step and device.
        eval_batch_size: vectors per step and device in validation, test and prediction.
        seed: random seed of the training order.

    Raises:
        ValueError: for an unknown dataset or a size below 1.

    Example:
        >>> data = ToyVectors("mixture", count=100)
        >>> data.setup()
        >>> data.splits.train.shape
        torch.Size([100, 1])
    """

    datasets: ClassVar[Registry[Toy]] = TOYS

    def __init__(
        self,
        dataset: str = "two_moons",
        count: int = 50_000,
        batch_size: int = 500,
        eval_batch_size: int = 10_000,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.toy = TOYS.make(dataset)
        self.spec = DataSpec((self.toy.features,), None)
        check_sizes(batch_size=batch_size, eval_batch_size=eval_batch_size)
        check_number("count", count, least=1, most=_MOST_VECTORS)
        check_seed("seed", seed)
        save_plainly(self)
        self.splits: Splits | None = None

    @override
    def setup(self, stage: str | None = None) -> None:
        """Draw the three sets."""
        if self.splits is None:
            sizes = (self.hparams["count"], _HELD_OUT, _HELD_OUT)
            seeded = [torch.Generator().manual_seed(_DRAW_SEED + index) for index in range(len(sizes))]
            self.splits = Splits(*map(self._drawn, sizes, seeded))

    def _drawn(self, count: int, generator: Generator) -> Tensor:
        name, expected = self.hparams["dataset"], (count, *self.spec.shape)
        try:
            vectors = self.toy.draw(count, generator)
        except Exception as error:  # a user's own class may raise anything
            raise ValueError(f"cannot draw dataset {name}: {error or type(error).__name__}") from error
        if not isinstance(vectors, Tensor) or tuple(vectors.shape) != expected or not vectors.isfinite().all():
            got = f"shape {tuple(vectors.shape)}" if isinstance(vectors, Tensor) else type(vectors).__name__
            raise ValueError(f"dataset {name} gives {got}; expected finite numbers with shape {expected}")
        return vectors

    @override
    def train_dataloader(self) -> "DataLoader[Tensor]":
        """Return shuffled batches of the training set."""
        assert self.splits is not None
        return loader(self.splits.train, self.hparams["batch_size"], self.trainer, self.hparams["seed"])

    @override
    def val_dataloader(self) -> "DataLoader[Tensor]":
        """Return ordered batches of the validation set."""
        assert self.splits is not None
        return loader(self.splits.val, self.hparams["eval_batch_size"], self.trainer)

    @override
    def test_dataloader(self) -> "DataLoader[Tensor]":
        """Return ordered batches of the test set."""
        assert self.splits is not None
        return loader(self.splits.test, self.hparams["eval_batch_size"], self.trainer)

    @override
    def predict_dataloader(self) -> "DataLoader[Tensor]":
        """Return ordered batches of the test set."""
        return self.test_dataloader()
