"""Splits, binarization, batches, and what happens when files are missing or damaged."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nfvae.data import DataModule
from nfvae.data.batches import BatchIndices, TensorRows, loader
from nfvae.data.binarize import bernoulli_draw, fixed_draw
from nfvae.data.torchvision import MNIST
from tests.helpers.idx import FILES, write_mnist


def ready(*arguments, **options):
    data = DataModule(*arguments, **options)
    data.prepare_data()
    data.setup()
    return data


def test_bernoulli_draw_has_the_probabilities_of_the_grey_levels():
    gray = torch.arange(256, dtype=torch.uint8)
    draws = torch.stack([bernoulli_draw(gray.repeat(200)).view(200, 256).mean(0) for _ in range(100)]).mean(0)
    p = gray / 255
    error = (p * (1 - p) / 20_000).sqrt()
    assert draws[0] == 0
    assert draws[255] == 1
    assert ((draws - p).abs() <= 5 * error).all()
    assert ((draws - p) / error.clamp_min(1e-9))[1:255].square().mean() == pytest.approx(1, abs=0.4)


@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 784)])
def test_bernoulli_draw_is_binary_and_fresh_each_time(shape):
    gray = torch.full(shape, 128, dtype=torch.uint8)
    first, second = bernoulli_draw(gray), bernoulli_draw(gray)
    assert first.shape == shape
    assert first.dtype == torch.float32
    assert set(first.unique().tolist()) <= {0.0, 1.0}
    if first.numel() > 100:
        assert 0.3 < (first == second).float().mean() < 0.7


def test_mnist_is_split_by_a_fixed_rule(mnist_root):
    data = ready("mnist", root=str(mnist_root), binarization="threshold")
    assert [len(part) for part in data.splits] == [50_000, 10_000, 10_000]
    raw = np.frombuffer((mnist_root / "MNIST/raw/train-images-idx3-ubyte").read_bytes()[16:], np.uint8)
    raw = torch.from_numpy(raw.reshape(60_000, 784).copy())
    torch.testing.assert_close(data.splits.train, (raw[:50_000] > 127).to(torch.uint8))
    torch.testing.assert_close(data.splits.val, (raw[50_000:] > 127).to(torch.uint8))


def test_dynamic_keeps_grey_training_images_and_draws_the_others_once():
    one, two = ready("digits"), ready("digits", seed=7)
    assert [len(part) for part in one.splits] == [1285, 256, 256]
    assert len(one.splits.train.unique()) > 2
    for split in ("val", "test"):
        drawn = getattr(one.splits, split)
        assert drawn.unique().tolist() == [0, 1]
        torch.testing.assert_close(drawn, getattr(two.splits, split))
    torch.testing.assert_close(one.statistics.mean, one.splits.train.float().mean(0) / 255)


def test_static_draws_once_and_near_the_grey_level():
    one, two, gray = (ready("digits", binarization="static"), ready("digits", binarization="static"), ready("digits"))
    torch.testing.assert_close(one.splits.train, two.splits.train)
    assert one.splits.train.unique().tolist() == [0, 1]
    assert (one.statistics.mean - gray.statistics.mean).abs().max() < 0.08
    assert one.splits.train.dtype == torch.uint8


def test_static_reads_the_amat_files_where_they_are(tmp_path, caplog):
    write_mnist(tmp_path)
    rows = {"train": 50_000, "valid": 10_000, "test": 10_000}
    for split, count in rows.items():
        line = " ".join("01" * 392)
        (tmp_path / f"binarized_mnist_{split}.amat").write_text(f"{line}\n" * count)
    with caplog.at_level("INFO"):
        data = ready("mnist", root=str(tmp_path), binarization="static")
    assert "the published files" in caplog.text
    assert data.splits.test.shape == (10_000, 784)
    assert data.splits.test[17, :4].tolist() == [0, 1, 0, 1]
    (tmp_path / "binarized_mnist_test.amat").write_text("0 1\n1 0\n")
    with pytest.raises(ValueError, match="should hold 10000 rows of 784 zeros and ones"):
        ready("mnist", root=str(tmp_path), binarization="static")


@pytest.fixture
def few_rows(monkeypatch):
    """The published files with fewer rows: write(folder, form of a row, parts)."""
    sizes = {"train": 3, "valid": 2, "test": 1}
    monkeypatch.setattr("nfvae.data.torchvision._AMAT_ROWS", sizes)

    def write(folder, row="0 1", parts=tuple(sizes)):
        for split in parts:
            (folder / f"binarized_mnist_{split}.amat").write_text(f"{row}\n" * sizes[split])

    return write


@pytest.mark.parametrize(
    "row",
    [
        " ".join(["0 1"] * 392),
        " ".join(["0.0 1.0"] * 392),
        ",".join(["0,1"] * 392),
        " ".join(["0e+00 1.000e+00"] * 392),
    ],
)
def test_amat_files_are_read_in_any_form_of_zeros_and_ones(tmp_path, few_rows, row):
    few_rows(tmp_path, row)
    found = MNIST().read_static(tmp_path)
    assert [len(part) for part in found] == [3, 2, 1]
    assert found.train.dtype == torch.uint8
    assert found.test[0, :4].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (" ".join(["0.0 0.5"] * 392), "should hold 3 rows of 784 zeros and ones; got values from 0 to 0.5"),
        (" ".join(["0 2"] * 392), "should hold 3 rows of 784 zeros and ones; got values from 0 to 2"),
        (
            " ".join(["0 x"] * 392),
            r"should hold 3 rows of 784 zeros and ones \(.*\); copy the published file there again",
        ),
    ],
)
def test_other_amat_files_are_refused_without_advice_to_do_without(tmp_path, few_rows, row, message):
    few_rows(tmp_path, row)
    with pytest.raises(ValueError, match=message) as caught:
        MNIST().read_static(tmp_path)
    assert "remove" not in str(caught.value)


def test_amat_files_of_which_one_is_missing_are_refused(tmp_path, few_rows):
    few_rows(tmp_path, parts=("train", "test"))
    with pytest.raises(ValueError, match=r"there is no file \S*binarized_mnist_valid.amat beside the other files"):
        MNIST().read_static(tmp_path)


def test_packed_files_are_named(tmp_path):
    for file in write_mnist(tmp_path).iterdir():
        file.rename(file.with_name(f"{file.name}.gz"))
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte.gz lie packed in \S*raw; unpack them, as gunzip"):
        ready("mnist", root=str(tmp_path), download=False)


def test_what_is_drawn_once_does_not_depend_on_how_many_images_are_drawn_together(monkeypatch):
    gray = torch.randint(0, 256, (50, 7), dtype=torch.uint8)
    whole = fixed_draw(gray, 1)
    monkeypatch.setattr("nfvae.data.binarize._AT_ONCE", 30)
    assert torch.equal(fixed_draw(gray, 1), whole)
    uniform = torch.rand(gray.shape, generator=torch.Generator().manual_seed(20150521 + 1))
    assert torch.equal(whole, (255 * uniform < gray).to(torch.uint8))


def test_pixel_means_do_not_depend_on_how_many_images_are_averaged_together(monkeypatch):
    data = ready("digits", binarization="threshold")
    expected = data.splits.train.double().mean(0).float()
    for pixels in (10, 1000, 2**22):
        monkeypatch.setattr("nfvae.data.statistics._AT_ONCE", pixels)
        torch.testing.assert_close(data.statistics.mean, expected, rtol=0, atol=0)


def test_static_without_amat_files_says_that_it_draws(caplog):
    with caplog.at_level("INFO"):
        ready("digits", binarization="static")
    assert "static binarization: drawn from a fixed seed" in caplog.text


def test_environment_variable_names_the_data_root(mnist_root, monkeypatch):
    monkeypatch.setenv("NFVAE_DATA", str(mnist_root))
    assert DataModule("mnist").root == mnist_root
    assert str(DataModule("mnist", root="elsewhere").root) == "elsewhere"


def test_a_tilde_is_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert DataModule("digits", root="~/data").root == tmp_path / "data"
    monkeypatch.setenv("NFVAE_DATA", "~/others")
    assert DataModule("digits").root == tmp_path / "others"
    assert str(DataModule("digits", root="~nobody-of-this-name/x").root) == "~nobody-of-this-name/x"


def test_fashion_mnist_is_read_from_its_own_folder(tmp_path):
    write_mnist(tmp_path, "FashionMNIST")
    assert len(ready("fashion_mnist", root=str(tmp_path)).splits.train) == 50_000
    with pytest.raises(ValueError, match="cannot read MNIST"):
        ready("mnist", root=str(tmp_path), download=False)


def truncate(folder):
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:100_000])


def garble(folder):
    (folder / "train-images-idx3-ubyte").write_bytes(b"not an IDX file" * 100)


def empty(folder):
    (folder / "t10k-images-idx3-ubyte").write_bytes(b"")


def shrink(folder):
    write_mnist(folder.parent.parent, files=FILES | {"train-images-idx3-ubyte": (60_000, 14, 14)})


@pytest.mark.parametrize("damage", [truncate, garble, empty, shrink])
def test_damaged_files_are_named_with_the_remedy(tmp_path, damage):
    damage(write_mnist(tmp_path))
    with pytest.raises(ValueError, match=r"cannot read MNIST under .*; put its four IDX files into") as caught:
        ready("mnist", root=str(tmp_path), download=False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "mnits"}, "unknown dataset 'mnits'; known datasets: mnist, fashion_mnist, cifar10"),
        ({"binarization": "fuzzy"}, "unknown binarization 'fuzzy'; known binarizations: dynamic, static, threshold"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"dataset": "digits", "seed": "x"}, "seed must be a whole number; got 'x'"),
        ({"dataset": "digits", "seed": 2**70}, "seed must be at most 4,294,967,295"),
        ({"dataset": "digits", "download": "false"}, "download must be true or false; got 'false'"),
        ({"dataset": "digits", "root": 5}, "root takes a path; got 5"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        DataModule(**options)


def indices(count=103, batch_size=10, epoch=0, **options):
    sampler = BatchIndices(TensorRows(torch.zeros(count, 1)), batch_size, **options)
    sampler.set_epoch(epoch)
    return list(sampler), len(sampler)


def test_shuffled_batches_are_whole_distinct_and_a_function_of_seed_and_epoch():
    drawn, length = indices(shuffle=True, seed=3)
    assert [len(batch) for batch in drawn] == [10] * length == [10] * 10
    assert len(torch.cat(drawn).unique()) == 100
    assert torch.equal(torch.cat(drawn), torch.cat(indices(shuffle=True, seed=3)[0]))
    for other in (indices(shuffle=True, seed=4), indices(shuffle=True, seed=3, epoch=1)):
        assert not torch.equal(torch.cat(drawn), torch.cat(other[0]))


def test_ordered_batches_hold_every_index_once():
    drawn, length = indices()
    assert length == len(drawn) == 11
    assert torch.equal(torch.cat(drawn), torch.arange(103))


@pytest.mark.parametrize("shuffle", [True, False])
def test_devices_see_disjoint_shards(shuffle):
    shards = [torch.cat(indices(shuffle=shuffle, seed=1, rank=rank, replicas=2)[0]) for rank in range(2)]
    both = torch.cat(shards)
    assert len(both.unique()) == len(both) == (100 if shuffle else 103)


def test_a_set_smaller_than_a_batch_is_one_batch():
    assert [len(batch) for batch in indices(count=4, batch_size=10, shuffle=True)[0]] == [4]


def test_the_loader_gives_whole_batches():
    images = torch.arange(30).view(10, 3)
    assert [batch.tolist() for batch in loader(images, 4, None)] == [
        images[:4].tolist(),
        images[4:8].tolist(),
        images[8:].tolist(),
    ]


def test_a_failed_download_gives_its_reason_and_leaves_no_folder(tmp_path, monkeypatch):
    def fail(root, **_):
        (Path(root) / "MNIST/raw").mkdir(parents=True, exist_ok=True)
        raise RuntimeError("Error downloading train-images:\nname resolution failed")

    monkeypatch.setattr("torchvision.datasets.MNIST", fail)
    with pytest.raises(ValueError, match="Error downloading train-images: name resolution failed"):
        DataModule("mnist", root=str(tmp_path / "new")).setup()
    assert not (tmp_path / "new").exists()
    (tmp_path / "MNIST/raw").mkdir(parents=True)
    with pytest.raises(ValueError, match="name resolution failed"):
        DataModule("mnist", root=str(tmp_path)).setup()
    assert (tmp_path / "MNIST/raw").is_dir()
