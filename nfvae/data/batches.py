"""Whole batches cut by index from one tensor in memory."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler
from typing_extensions import override


@dataclass(frozen=True)
class Part:
    """A part of a data set, with more than its values; a plain tensor is a part of values alone.

    Raises:
        ValueError: for another number of labels than of values.

    Attributes:
        x: values with shape (N, P).
        y: labels, whole numbers with shape (N,), or conditions, real numbers with shape (N, C); None for none.
        observed: which values are observed, booleans with shape (N, P); None if all are.
    """

    x: Tensor
    y: Tensor | None = None
    observed: Tensor | None = None

    def __post_init__(self) -> None:
        if self.y is not None and len(self.y) != len(self.x):
            raise ValueError(f"there are {len(self.y):,} labels for {len(self.x):,} data")

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Tensor) -> "Part":
        """Return the part with some of its rows."""
        y, observed = (None if each is None else each[rows] for each in (self.y, self.observed))
        return Part(self.x[rows], y, observed)


class Splits(NamedTuple):
    """The three parts of a data set, each a tensor with shape (N, P), or a `Part`."""

    train: Any
    val: Any
    test: Any


SPLITS = ("train", "val", "test")


def data_digest(*tensors: Tensor) -> str:
    """Return a SHA-256 fingerprint of data."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {[*tensor.shape]}".encode())
        digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


class TensorRows(Dataset[Any]):
    """The rows of one tensor or of several; a tensor of indices selects a whole batch."""

    def __init__(self, rows: Tensor, *others: Tensor) -> None:
        self.rows, self.others = rows, others

    def __len__(self) -> int:
        return len(self.rows)

    @override
    def __getitem__(self, indices: Tensor) -> Any:
        batch = self.rows.index_select(0, indices)
        return (batch, *(each.index_select(0, indices) for each in self.others)) if self.others else batch


class BatchIndices(DistributedSampler[Tensor]):
    """Yield batches of indices from this device's shard; the order depends only on the seed and the epoch.

    A shuffled epoch drops its incomplete last batch, so that every training batch has the same shape; an ordered
    epoch keeps it.

    Args:
        dataset: data set to index.
        batch_size: indices per batch and device.
        shuffle: whether the order is random.
        seed: random seed of the order.
        rank: index of this device.
        replicas: number of devices.
    """

    def __init__(
        self,
        dataset: TensorRows,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        replicas: int = 1,
    ) -> None:
        super().__init__(dataset, num_replicas=replicas, rank=rank, shuffle=shuffle, seed=seed)
        total = len(dataset)
        self.shard = total // replicas if shuffle else len(range(rank, total, replicas))
        self.batch_size = min(batch_size, max(self.shard, 1))
        self.device = dataset.rows.device

    @override
    def __len__(self) -> int:
        return self.shard // self.batch_size if self.shuffle else -(-self.shard // self.batch_size)

    @override
    def __iter__(self) -> Iterator[Tensor]:
        total = len(self.dataset)  # type: ignore[arg-type]
        order = torch.arange(total)
        if self.shuffle:
            order = torch.randperm(total, generator=torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch))
        order = order[self.rank :: self.num_replicas].to(self.device)
        for batch in range(len(self)):
            yield order[batch * self.batch_size : (batch + 1) * self.batch_size]


def loader(
    rows: Tensor,
    batch_size: int,
    trainer: pl.Trainer | None,
    shuffle_seed: int | None = None,
    others: tuple[Tensor, ...] = (),
) -> "DataLoader[Any]":
    """Return a loader of this device's shard of a tensor, without workers or global random draws.

    Args:
        rows: the data with shape (N, ...).
        others: more tensors with N rows; batches are then tuples.
        batch_size: rows per batch and device.
        trainer: trainer whose device and shard are used; None for the whole tensor on its own device.
        shuffle_seed: random seed of a shuffled order; None keeps the order.

    Raises:
        ValueError: for fewer rows than devices.
    """
    shard = {}
    if trainer is not None:
        device = trainer.strategy.root_device
        rows, others = rows.to(device), tuple(each.to(device) for each in others)
        if len(rows) < trainer.world_size:
            raise ValueError(f"{len(rows)} rows of data cannot be shared by {trainer.world_size} devices")
        shard = {"rank": trainer.global_rank, "replicas": trainer.world_size}
    sampler = BatchIndices(TensorRows(rows, *others), batch_size, shuffle_seed is not None, shuffle_seed or 0, **shard)
    return DataLoader(sampler.dataset, sampler=sampler, batch_size=None, generator=torch.Generator())
