"""Whole batches cut by index from one tensor in memory."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler


class TensorImages(Dataset[Tensor]):
    """Images in one tensor; indexed with a tensor of indices it gives a whole batch."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, indices: Tensor) -> Tensor:
        return self.images.index_select(0, indices)


class BatchIndices(DistributedSampler[Tensor]):
    """Give out batches of indices, each device its own shard; reshuffled as a function of seed and epoch alone.

    A shuffled epoch drops its incomplete last batch, so that every training batch has the same shape; an ordered
    one keeps it.

    Args:
        dataset: what is indexed.
        batch_size: indices a batch and device.
        shuffle: whether the order is random.
        seed: of the order.
        rank: index of this device.
        replicas: number of devices.
    """

    def __init__(
        self,
        dataset: TensorImages,
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
        self.device = dataset.images.device

    def __len__(self) -> int:
        return self.shard // self.batch_size if self.shuffle else -(-self.shard // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        total = len(self.dataset)  # type: ignore[arg-type]
        order = torch.arange(total)
        if self.shuffle:
            order = torch.randperm(total, generator=torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch))
        order = order[self.rank :: self.num_replicas].to(self.device)
        for batch in range(len(self)):
            yield order[batch * self.batch_size : (batch + 1) * self.batch_size]


def batches(sampler: BatchIndices) -> "DataLoader[Tensor]":
    """Wrap a sampler of batches in a DataLoader that adds nothing to it: no workers, no collation, no global draws."""
    return DataLoader(sampler.dataset, sampler=sampler, batch_size=None, generator=torch.Generator())
