"""Means over a data set that is split into batches and processes."""

from collections.abc import Mapping

import pytorch_lightning as pl
import torch
from torch import Tensor

from nfvae.numerics import double


class Means:
    """Average the metrics of batches by name, weighted by batch size, in float64.

    Attributes:
        latest: the metrics of the last batch.
    """

    def __init__(self) -> None:
        self.batches: list[Mapping[str, Tensor]] = []
        self.counts: list[int] = []

    @property
    def latest(self) -> Mapping[str, Tensor]:
        """The metrics of the last batch."""
        return self.batches[-1]

    def add(self, metrics: Mapping[str, Tensor], count: int) -> None:
        """Add the means over one batch of `count` data."""
        self.batches.append(metrics)
        self.counts.append(count)

    def over_processes(self, trainer: pl.Trainer) -> dict[str, Tensor]:
        """Return the means over the data of all processes; each process must have at least one batch."""
        rows = double(torch.stack([torch.stack(list(metrics.values())) for metrics in self.batches]))
        counts = rows.new_tensor(self.counts)
        sums = torch.cat([counts @ rows, counts.sum()[None]])
        *total, count = trainer.strategy.reduce(sums, reduce_op="sum").unbind()
        return {name: value / count for name, value in zip(self.batches[0], total, strict=True)}
