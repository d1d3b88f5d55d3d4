"""The five data sets on which densities are compared, read where the user has them.

Files and preparation are those of Masked Autoregressive Flow for Density Estimation, arXiv 1705.07057: the last tenth
of the data is for test, the last tenth of the rest for validation, and each column is standardized. Published
log-densities are those of the standardized data, as here.
"""

from importlib import import_module
from importlib.util import find_spec as find_package
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from nfvae.data.batches import Splits
from nfvae.data.datasets import DATA_ROOT_VARIABLE, Dataset
from nfvae.models import DataSpec

_Array = NDArray[np.floating]
_SHUFFLE_SEED = 42
_MOST_REPEATS = 5  # of its smallest value, above which a column counts as discrete


class BenchmarkTable(Dataset):
    """A data set of the benchmark.

    Attributes:
        features: number of columns after the preparation.
        files: files in the data root.
    """

    features: ClassVar[int]
    files: ClassVar[tuple[str, ...]]

    @override
    def find_spec(self, root: Path) -> DataSpec:
        return DataSpec((self.features,), None)

    @override
    def read(self, root: Path, download: bool) -> Splits:
        """Read and prepare the files under the data root."""
        paths = [root / file for file in self.files]
        if lost := [str(path) for path in paths if not path.is_file()]:
            raise ValueError(
                f"there is no file {' and no '.join(lost)}: put the files of arXiv 1705.07057 there (they are found by "
                f"that number), or point --data.root or {DATA_ROOT_VARIABLE} elsewhere"
            )
        try:
            parts = self.prepared(*paths)
        except Exception as error:  # any error of the readers
            said = "it holds more than numbers" if "pickle" in str(error) else " ".join(str(error).split())
            raise ValueError(f"cannot read {', '.join(map(str, paths))}: {said}") from error
        for part in parts:
            if part.shape[1] != self.features:
                expected = f"{self.features} columns after the preparation"
                raise ValueError(f"{', '.join(map(str, paths))}: expected {expected}; got {part.shape[1]}")
        return Splits(*(_tensor(part) for part in parts))

    def prepared(self, *paths: Path) -> list[_Array]:
        """Read the files, and return the three parts with shape (N, D)."""
        raise NotImplementedError


class Power(BenchmarkTable):
    """POWER: electric power consumption of a household, 6 columns; power/data.npy."""

    features, files = 6, ("power/data.npy",)

    @override
    def prepared(self, *paths: Path) -> list[_Array]:
        random = np.random.RandomState(_SHUFFLE_SEED)
        data = np.load(paths[0], allow_pickle=False)
        random.shuffle(data)
        data = np.delete(data, [1, 3], axis=1)
        count = len(data)
        voltage, power, meters = 0.01 * random.rand(count, 1), 0.001 * random.rand(count, 1), random.rand(count, 3)
        data = data + np.hstack([power, voltage, meters, np.zeros((count, 1))])  # against repeated values
        return standardized(cut(data))


class Gas(BenchmarkTable):
    """GAS: readings of gas sensors, 8 columns; gas/data.npy, the 16 sensors of ethylene_CO.pickle.

    The published file is a pickle, which runs code when it is read. Convert it once where you trust it, by
    `numpy.save("data.npy", pandas.read_pickle("ethylene_CO.pickle").drop(columns=["Time", "Meth", "Eth"]).values)`.
    """

    features, files = 8, ("gas/data.npy",)

    @override
    def prepared(self, *paths: Path) -> list[_Array]:
        data = np.load(paths[0], allow_pickle=False)
        while True:  # leave out the first column that nearly equals another, until there is none
            alike = (np.corrcoef(data, rowvar=False) > 0.98).sum(1) > 1
            if not alike.any():
                break
            data = np.delete(data, int(alike.argmax()), axis=1)
        return cut((data - data.mean(0)) / data.std(0, ddof=1))


class Hepmass(BenchmarkTable):
    """HEPMASS: simulated particle collisions with a signal, 21 columns; hepmass/1000_train.csv and 1000_test.csv."""

    features, files = 21, ("hepmass/1000_train.csv", "hepmass/1000_test.csv")

    @override
    def prepared(self, *paths: Path) -> list[_Array]:
        train, test = (np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2) for path in paths)
        train, test = (data[data[:, 0] == 1][:, 1:] for data in (train, test))  # the signal, without its label
        test = test[:, : train.shape[1]]  # the published test file has one more column
        center, spread = train.mean(0), train.std(0, ddof=1)
        train, test = (train - center) / spread, (test - center) / spread
        kept = [place for place in range(train.shape[1]) if _repeats(train[:, place]) <= _MOST_REPEATS]
        train, test = train[:, kept], test[:, kept]
        held_out = len(train) // 10
        return [train[:-held_out], train[-held_out:], test]


class Miniboone(BenchmarkTable):
    """MINIBOONE: measurements of particles, 43 columns; miniboone/data.npy."""

    features, files = 43, ("miniboone/data.npy",)

    @override
    def prepared(self, *paths: Path) -> list[_Array]:
        return standardized(cut(np.load(paths[0], allow_pickle=False)))


class BSDS300(BenchmarkTable):
    """BSDS300: patches of natural images without their mean, 63 columns; BSDS300/BSDS300.hdf5, read by h5py."""

    features, files = 63, ("BSDS300/BSDS300.hdf5",)

    @override
    def prepared(self, *paths: Path) -> list[_Array]:
        if find_package("h5py") is None:
            raise ValueError(f"reading {paths[0]} needs h5py: pip install h5py")
        with import_module("h5py").File(paths[0], "r") as content:
            return [np.asarray(content[name]) for name in ("train", "validation", "test")]


def cut(data: _Array) -> list[_Array]:
    """Cut off the last tenth for test, and the last tenth of the rest for validation; the rest is for training."""
    test = len(data) // 10
    rest = data[:-test]
    validation = len(rest) // 10
    return [rest[:-validation], rest[-validation:], data[-test:]]


def standardized(parts: list[_Array]) -> list[_Array]:
    """Standardize parts by the mean and deviation of training and validation together."""
    seen = np.vstack(parts[:2])
    center, spread = seen.mean(0), seen.std(0)
    return [(part - center) / spread for part in parts]


def _repeats(column: _Array) -> int:
    """Return how often the smallest value of a column occurs."""
    return int((column == column.min()).sum())


def _tensor(part: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(part, np.float32))
