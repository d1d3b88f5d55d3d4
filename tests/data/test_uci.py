"""The benchmark's tables, from files of their layout with random content."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from nfvae import DataModule
from nfvae.data.uci import cut, standardized

RANDOM = np.random.default_rng(0)


def write_power(root):
    data = RANDOM.normal(size=(1000, 8)) * [1, 5, 2, 3, 4, 1, 2, 9] + 7
    (root / "power").mkdir()
    np.save(root / "power/data.npy", data)


def write_gas(root):
    own = RANDOM.normal(size=(1000, 8))
    twins = own + 0.01 * RANDOM.normal(size=own.shape)
    (root / "gas").mkdir()
    np.save(root / "gas/data.npy", np.hstack([own, twins]) * 3 + 1)


def write_hepmass(root):
    (root / "hepmass").mkdir()
    for name, extra in (("train", 0), ("test", 1)):
        data = np.hstack([RANDOM.integers(0, 2, (600, 1)), RANDOM.normal(size=(600, 27 + extra))])
        data[:, [3, 7, 9, 12, 20, 25]] = RANDOM.integers(0, 3, (600, 6))
        text = [",".join(f"c{place}" for place in range(data.shape[1])), *(",".join(map(str, row)) for row in data)]
        (root / f"hepmass/1000_{name}.csv").write_text("\n".join(text))


def write_miniboone(root):
    (root / "miniboone").mkdir()
    np.save(root / "miniboone/data.npy", 5 * RANDOM.normal(size=(400, 43)) + 3)


WRITERS = {"power": (write_power, 6), "gas": (write_gas, 8), "hepmass": (write_hepmass, 21)}
WRITERS["miniboone"] = (write_miniboone, 43)


@pytest.mark.parametrize("name", WRITERS)
def test_a_table_is_prepared_as_in_the_paper(name, tmp_path):
    write, columns = WRITERS[name]
    write(tmp_path)
    data = DataModule(name, root=str(tmp_path))
    assert data.spec.shape == (columns,)
    data.setup()
    train, val, test = data.splits
    assert {part.shape[1] for part in data.splits} == {columns}
    if name != "hepmass":
        total = sum(map(len, data.splits))
        assert (len(test), len(val)) == (total // 10, (total - total // 10) // 10)
    assert abs(float(train.mean())) < 0.05
    assert abs(float(train.std()) - 1) < 0.05
    assert (train[0] != train[1]).any()


def test_parts_are_cut_from_the_end_and_standardized_by_the_first_two():
    data = np.arange(100.0)[:, None]
    train, val, test = cut(data)
    assert (len(train), len(val), len(test)) == (81, 9, 10)
    assert (train[0], val[0], test[0]) == (0, 81, 90)
    scaled = standardized([train, val, test])
    assert np.vstack(scaled[:2]).mean() == pytest.approx(0)
    assert np.vstack(scaled[:2]).std() == pytest.approx(1)


def test_the_patches_are_read_by_h5py(tmp_path, monkeypatch):
    parts = {name: RANDOM.normal(size=(20, 63)) for name in ("train", "validation", "test")}

    class File(dict):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    (tmp_path / "BSDS300").mkdir()
    (tmp_path / "BSDS300/BSDS300.hdf5").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "h5py", SimpleNamespace(File=lambda *_: File(parts), __spec__=SimpleNamespace()))
    data = DataModule("bsds300", root=str(tmp_path))
    data.setup()
    np.testing.assert_allclose(data.splits.val.numpy(), parts["validation"], rtol=1e-6)


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file .*power/data.npy: put the files of arXiv 1705.07057 there"):
        DataModule("power", root=str(tmp_path)).setup()
    write_miniboone(tmp_path)
    np.save(tmp_path / "miniboone/data.npy", np.zeros((50, 4)) + RANDOM.normal(size=(50, 4)))
    with pytest.raises(ValueError, match=r"expected 43 columns after the preparation; got 4"):
        DataModule("miniboone", root=str(tmp_path)).setup()
    (tmp_path / "miniboone/data.npy").write_text("torn")
    with pytest.raises(ValueError, match=r"cannot read .*data.npy: it holds more than numbers"):
        DataModule("miniboone", root=str(tmp_path)).setup()
