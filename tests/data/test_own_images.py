"""Images of one's own: files of arrays, folders of pictures, tensors at hand, and OMNIGLOT's files."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import Trainer

from nfvae import DataModule, FlowVAE
from nfvae.data import DATASETS
from nfvae.data.arrays import Arrays
from nfvae.data.omniglot import Omniglot
from nfvae.data.parts import RandomSplit
from nfvae.data.pixels import as_pixels
from tests.helpers.sweeps import exhaustive

GRAY = torch.randint(0, 256, (20, 6, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def splits(root, dataset="arrays", binarization="dynamic", **options):
    data = DataModule(dataset, binarization, root=str(root), dataset_options=options)
    data.setup()
    return data


def parts(images=GRAY):
    return {"train": images[:12], "val": images[12:15], "test": images[15:]}


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (GRAY, GRAY),
        (GRAY.long(), GRAY),
        (GRAY.double(), GRAY),
        (GRAY.double() / 255, GRAY),
        (GRAY[:, None], GRAY),
        (GRAY[..., None], GRAY),
        (GRAY > 99, 255 * (GRAY > 99)),
        ((GRAY > 99).long(), 255 * (GRAY > 99)),
        ((GRAY > 99).float(), 255 * (GRAY > 99)),
    ],
)
def test_images_of_any_kind_become_gray(images, expected):
    (gray,) = as_pixels({"here": images})
    assert gray.dtype == torch.uint8
    assert torch.equal(gray, expected.to(torch.uint8))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (GRAY[0], r"here should hold images, shape \(N, height, width\) or with channels too; got \(6, 5\)"),
        (GRAY[:0], "here should hold images"),
        (GRAY[:, None, :5].expand(-1, 5, -1, -1), r"\(20, 5, 5, 5\), in which channels cannot be told from height"),
        (GRAY.flatten(1).repeat(1, 30), r"got \(20, 900\): reshape it, as images.reshape\(20, 30, 30\)"),
        (GRAY.double() - 1, "gray from 0 to 1, or 0 ... 255; got negative numbers, -1 to 254$"),
        (GRAY / 127.5 - 1, r"got negative numbers, -1 to 1: scale it, as \(x \+ 1\) / 2"),
        (GRAY.long() * 2, "got 0 to 510: divide it by the value of full white, as 1023"),
        (GRAY.long() * 257, "got 0 to 65535: divide it by the value of full white, as 65535"),
        (GRAY * 0.5, "here goes from 0 to 127.5, but not all are whole numbers: round them"),
        (GRAY.double() / 255 * 1.0000001, r"here goes to 1.0000001, above 1: clip it to 0 ... 1"),
        (GRAY.double() * torch.nan, "got numbers that are not finite"),
        (GRAY.double() / 0, "got numbers that are not finite"),
        (GRAY // 16, r"here holds 0 ... 15, nearly black as 0 ... 255: divide it by its largest value"),
        (GRAY.double().to_sparse(), "here is no plain tensor"),
        (torch.empty(2, 3, 4, device="meta"), "here is no plain tensor"),
    ],
)
def test_other_images_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        as_pixels({"here": images})


@pytest.mark.parametrize("suffix", ["npz", "pt"])
def test_parts_are_read_as_they_are(tmp_path, suffix):
    file = tmp_path / f"own.{suffix}"
    np.savez(file, **parts()) if suffix == "npz" else torch.save(parts(), file)
    data = splits(file)
    assert data.spec.shape == (6, 5)
    assert torch.equal(data.splits.train, GRAY[:12].flatten(1))
    assert len(data.rows("val")) == 3


@pytest.mark.parametrize("suffix", ["npz", "npy", "pt"])
def test_a_single_array_is_split_the_same_way_each_time(tmp_path, suffix):
    file = tmp_path / f"own.{suffix}"
    if suffix == "pt":
        torch.save(GRAY, file)
    else:
        (np.savez if suffix == "npz" else np.save)(file, GRAY)
    one, other = splits(file, split=[0.5, 0.25, 0.25]), splits(file, split=[0.5, 0.25, 0.25])
    assert [len(part) for part in one.splits] == [10, 5, 5]
    assert torch.equal(one.splits.train, other.splits.train)
    rows = RandomSplit([0.5, 0.25, 0.25], 0).complete({"": GRAY.flatten(1)}, file)
    assert {tuple(row.tolist()) for part in rows for row in part} == {tuple(row.tolist()) for row in GRAY.flatten(1)}
    assert not torch.equal(splits(file, split=[0.5, 0.25, 0.25], split_seed=1).splits.train, one.splits.train)


def write(folder, images=GRAY):
    folder.mkdir(parents=True)
    for place, image in enumerate(images):
        Image.fromarray(image.numpy()).save(folder / f"{place:03}.png")


def test_a_folder_of_pictures_is_read(tmp_path):
    for name, images in parts().items():
        write(tmp_path / "own" / name, images)
    data = splits(tmp_path / "own", "folder")
    assert torch.equal(data.splits.train, GRAY[:12].flatten(1))
    assert splits(tmp_path / "own", "folder", size=[3, 4]).spec.shape == (3, 4)
    write(tmp_path / "flat")
    assert [len(part) for part in splits(tmp_path / "flat", "folder").splits] == [16, 2, 2]


def test_dark_on_light_is_turned_round(tmp_path):
    write(tmp_path / "own")
    plain, inverted = (splits(tmp_path / "own", "folder", invert=invert).splits for invert in (False, True))
    assert torch.equal(inverted.train, 255 - plain.train)


def test_pictures_of_more_than_8_bits_are_refused(tmp_path):
    Image.fromarray(GRAY[0].numpy().astype(np.uint16) * 257).save(tmp_path / "wide.png")
    with pytest.raises(ValueError, match=r"wide.png: its pixels have more than 8 bits"):
        splits(tmp_path, "folder")


def test_arrays_in_another_byte_order_are_read(tmp_path):
    np.save(tmp_path / "big.npy", GRAY.numpy().astype(">f4"))
    found = torch.cat(Arrays().read(tmp_path / "big.npy", download=False))
    assert sorted(found.tolist()) == sorted(GRAY.flatten(1).tolist())


def test_mistakes_are_named(tmp_path):
    write(tmp_path / "own", GRAY[:2])
    write(tmp_path / "own" / "wide", GRAY[:2, :, :4])
    (tmp_path / "torn.npz").write_bytes(b"PK torn")
    np.savez(tmp_path / "two.npz", one=GRAY, two=GRAY)
    for name in ("train.amat", "text.npy"):
        (tmp_path / name).write_text("0 1\n1 0\n")
    torch.save(SimpleNamespace(images=GRAY), tmp_path / "objects.pt")
    torch.save(torch.zeros(1).expand(10**7, 100, 100), tmp_path / "few.pt")
    np.savez(tmp_path / "sizes.npz", **(parts() | {"val": GRAY[:, :4]}))
    for root, dataset, options, message in [
        ("own", "folder", {}, r"pixels, .* give a size"),
        ("none", "folder", {}, "there are no pictures under"),
        ("none.npz", "arrays", {}, "there is no file .*none.npz; expected an .npz, .npy or .pt"),
        ("own", "arrays", {}, "there is no file .*own; expected an .npz, .npy or .pt"),
        ("train.amat", "arrays", {}, r"cannot read .*train.amat: expected an .npz, .npy or .pt \(or .pth\)$"),
        (
            "text.npy",
            "arrays",
            {},
            "cannot read .*text.npy: it is of another format, or holds more than numbers",
        ),
        (
            "objects.pt",
            "arrays",
            {},
            "cannot read .*objects.pt: it is of another format, or holds more than numbers",
        ),
        ("few.pt", "arrays", {}, r"its content has shape \(10000000, 100, 100\), but fewer numbers are stored"),
        ("torn.npz", "arrays", {}, "cannot read .*torn.npz"),
        ("two.npz", "arrays", {}, "should hold train, val and test, or one array; got one, two"),
        ("sizes.npz", "arrays", {}, r"the parts hold images of several sizes: \(4, 5\), \(6, 5\)"),
        ("two.npz", "arrays", {"split": [0.5, 0.5]}, "split takes the shares of train, val, test"),
        ("two.npz", "arrays", {"split": [0.5, 0.5, 0.5]}, "the shares of split should add up to 1"),
        ("two.npz", "arrays", {"split": [1.5, -0.5, 0]}, "a share of split must be"),
        ("own", "folder", {"size": [0, 3]}, "height must be at least 1; got 0"),
        ("none", "omniglot", {}, "cannot read OMNIGLOT under"),
    ]:
        with pytest.raises(ValueError, match=message):
            DataModule(dataset, root=str(tmp_path / root), dataset_options=options, download=False).setup()


def test_tensors_at_hand_are_trained_on(tmp_path):
    data = DataModule.from_tensors(**parts(GRAY / 255), batch_size=4)
    trainer = Trainer(
        max_epochs=1, logger=False, enable_progress_bar=False, default_root_dir=tmp_path, accelerator="cpu"
    )
    trainer.fit(FlowVAE("planar", 1, context=2, latent=2, shape=[6, 5]), data)
    assert torch.equal(data.splits.train, GRAY[:12].flatten(1))
    with pytest.raises(ValueError, match="the parts hold images of several sizes"):
        DataModule.from_tensors(GRAY, GRAY[:, :3], GRAY)


@pytest.mark.parametrize("make", [np.array, lambda images: images.tolist(), lambda images: np.array(images)[::-1]])
def test_arrays_and_lists_at_hand_are_taken(make):
    data = DataModule.from_tensors(**{name: make(images) for name, images in parts().items()})
    data.setup()
    assert sorted(data.splits.train.tolist()) == sorted(GRAY[:12].flatten(1).tolist())
    for wrong, message in [
        ("abc", "train is no array of numbers"),
        (None, "train is no array of numbers"),
        ([[[1]], [[1, 2]]], "train is no array of numbers"),
    ]:
        with pytest.raises(ValueError, match=message):
            DataModule.from_tensors(wrong, GRAY, GRAY)


def test_images_at_hand_are_copied():
    images = GRAY.clone()
    data = DataModule.from_tensors(images, images, images)
    data.setup()
    images.zero_()
    assert torch.equal(data.splits.train, GRAY.flatten(1))


def test_one_scale_is_chosen_for_all_parts(tmp_path, caplog):
    binary = (GRAY > 99).to(torch.uint8)
    with caplog.at_level("INFO"):
        data = DataModule.from_tensors(GRAY, GRAY, binary, binarization="threshold")
    assert "test holds 0 and 1, nearly black, as train goes to 255" in caplog.text
    data.setup()
    assert not data.splits.test.any()
    np.savez(tmp_path / "own.npz", train=GRAY, val=GRAY, test=binary)
    assert not splits(tmp_path / "own.npz").splits.test.float().mean() > 0.1
    soft = DataModule.from_tensors(GRAY / 255, binary.float(), binary.bool(), binarization="threshold")
    soft.setup()
    assert torch.equal(soft.splits.test, binary.flatten(1))
    for test, message in [
        (GRAY > 99, "test holds true and false, train goes to 255: give all one scale"),
        (GRAY / 255, "test goes from 0 to 1, train to 255: give all one scale"),
    ]:
        with pytest.raises(ValueError, match=message):
            DataModule.from_tensors(GRAY, GRAY, test)


def test_images_along_the_last_axis_are_refused_where_that_is_unclear(tmp_path):
    images = GRAY.new_zeros(6, 6, 20)
    np.save(tmp_path / "last.npy", images)
    with pytest.raises(ValueError, match=r"where these are 20 images of 6x6 pixels, move the last axis to the front"):
        splits(tmp_path / "last.npy")
    np.save(tmp_path / "last.npy", images[:, None])
    assert splits(tmp_path / "last.npy", split=[0.5, 0.25, 0.25]).spec.shape == (6, 20)
    assert DataModule.from_tensors(images, images, images[:5]).spec.shape == (6, 20)
    assert DataModule.from_tensors(*[images[..., :4]] * 3).spec.shape == (6, 4)


@pytest.mark.parametrize(
    "names",
    [
        ("train", "valid", "test"),
        ("Training", "VALIDATION", "Test"),
        ("x_train", "x_val", "x_test"),
        ("train_images", "val_images", "test_images"),
    ],
)
def test_parts_have_several_spellings(tmp_path, names):
    file = tmp_path / "own.npz"
    np.savez(file, **dict(zip(names, parts().values(), strict=True)), y_train=np.arange(12), test_labels=np.arange(5))
    data = splits(file)
    assert torch.equal(data.splits.train, GRAY[:12].flatten(1))
    assert [len(part) for part in data.splits] == [12, 3, 5]


def test_a_missing_validation_part_is_drawn_from_the_training_part(tmp_path, caplog):
    file = tmp_path / "mnist.npz"
    np.savez(file, x_train=GRAY[:15], y_train=np.arange(15), x_test=GRAY[15:], y_test=np.arange(5))
    with caplog.at_level("INFO"):
        data = splits(file, binarization="threshold", split=[0.5, 0.4, 0.1])
    assert "mnist.npz holds no val: it is 7 of the 15 training data, at random" in caplog.text
    assert [len(part) for part in data.splits] == [8, 7, 5]
    assert torch.equal(data.splits.test, (GRAY[15:] > 127).flatten(1).to(torch.uint8))
    both = torch.cat(data.splits[:2])
    assert sorted(both.tolist()) == sorted((GRAY[:15] > 127).flatten(1).long().tolist())
    other = splits(file, binarization="threshold", split=[0.5, 0.4, 0.1], split_seed=1)
    assert not torch.equal(other.splits.val, data.splits.val)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train", "val", "valid", "test"), "holds val and valid, which both stand for val: remove one"),
        (("train", "y_train"), "holds train, but no test; expected train and at least one of val and test"),
        (("val", "test"), "holds val, test, but no train"),
        (("x_test", "y_test"), "holds x_test, but no train"),
        (("train", "test", "mean"), "holds train, test beside mean: rename or remove these"),
        (("train", "vla", "test"), "holds train, test beside vla"),
    ],
)
def test_unclear_parts_are_refused_by_their_names_before_their_values(tmp_path, names, message):
    np.savez(tmp_path / "own.npz", **dict.fromkeys(names, np.full((2, 3), np.nan)))
    with pytest.raises(ValueError, match=message):
        splits(tmp_path / "own.npz")


@pytest.mark.parametrize("form", ["new", "old"])
def test_files_of_torch_are_read_by_either_ending_and_form(tmp_path, form):
    torch.save(parts(), tmp_path / "own.pth", _use_new_zipfile_serialization=form == "new")
    assert torch.equal(splits(tmp_path / "own.pth").splits.train, GRAY[:12].flatten(1))


def test_no_warning_of_a_library_comes_with_a_refusal(tmp_path, recwarn):
    torch.save(torch.ones(2, 3, 4).to_sparse_csr(), tmp_path / "sparse.pt")
    recwarn.clear()
    with pytest.raises(ValueError, match=r"sparse.pt is no plain tensor"):
        splits(tmp_path / "sparse.pt")
    assert not recwarn.list


def count_calls(monkeypatch, name, calls, module="arrays"):
    real = getattr(sys.modules[f"nfvae.data.{module}"], name)
    monkeypatch.setattr(f"nfvae.data.{module}.{name}", lambda *given: calls.append(given) or real(*given))


@pytest.mark.parametrize("suffix", ["npz", "npy", "pt"])
def test_a_data_module_reads_its_file_once(tmp_path, monkeypatch, suffix):
    file, calls = tmp_path / f"own.{suffix}", []
    write_one = {"npz": lambda: np.savez(file, GRAY), "npy": lambda: np.save(file, GRAY)}
    write_one.get(suffix, lambda: torch.save(GRAY, file))()
    count_calls(monkeypatch, "as_pixels", calls)
    if suffix == "npz":
        count_calls(monkeypatch, "_read_npz", calls, "files")
    data = DataModule("arrays", root=str(file))
    assert not calls
    for _ in range(2):
        data.prepare_data()
    data.setup()
    data.prepare_data()
    data.setup()
    assert len(calls) == (2 if suffix == "npz" else 1)


def test_a_training_reads_its_file_for_itself_and_for_its_pictures(fit, monkeypatch):
    np.save("own.npy", torch.randint(0, 256, (60, 8, 8)).to(torch.uint8))
    calls = []
    count_calls(monkeypatch, "as_pixels", calls)
    code, _, error = fit("--data.dataset", "arrays", "--data.root", "own.npy", "--data.batch_size", 16)
    assert code == 0, error
    assert len(calls) == 2


_MEASURE = """
import sys
from pathlib import Path

import torch

from nfvae import DataModule

def peak():
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)

DataModule.from_tensors(*[torch.rand(60, 8, 8)] * 3).setup()  # what is loaded once
before = peak()
data = DataModule("arrays", root=sys.argv[1])
data.prepare_data()
data.setup()
data.statistics.mean
print((peak() - before) * 1024 / Path(sys.argv[1]).stat().st_size)
"""


@exhaustive
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_reading_takes_three_times_the_memory_of_the_file(tmp_path):
    file = tmp_path / "big.npz"
    np.savez(file, np.random.default_rng(0).integers(0, 256, (12_000, 64, 64), dtype=np.uint8))
    assert float(subprocess.check_output([sys.executable, "-c", _MEASURE, file])) < 4


def test_omniglot_is_read_as_burda_has_it(tmp_path, monkeypatch):
    from scipy.io import savemat

    monkeypatch.setattr("nfvae.data.omniglot._TRAIN", 1400)
    monkeypatch.setattr("nfvae.data.omniglot._TEST", 30)
    images = {name: torch.rand(count, 28, 28).numpy() for name, count in (("data", 1400), ("testdata", 30))}
    columns = {name: each.transpose(0, 2, 1).reshape(len(each), -1).T for name, each in images.items()}
    savemat(tmp_path / "chardata.mat", columns)
    found = Omniglot().read(tmp_path, download=False)
    assert [len(part) for part in found] == [55, 1345, 30]
    expected = torch.from_numpy(images["testdata"]).flatten(1) * 255
    torch.testing.assert_close(found.test.float(), expected.float(), rtol=0, atol=0.51)
    savemat(tmp_path / "chardata.mat", {"data": columns["data"]})
    with pytest.raises(ValueError, match=r"chardata.mat holds no testdata"):
        Omniglot().read(tmp_path, download=False)
    for wrong in (np.nan, 1j, 2.0):
        savemat(tmp_path / "chardata.mat", columns | {"data": columns["data"] * wrong})
        with pytest.raises(ValueError, match=r"should hold 1400 columns of 784 numbers in \[0, 1\]"):
            Omniglot().read(tmp_path, download=False)


def test_omniglot_of_torchvision_is_made_smaller(monkeypatch, tmp_path):
    picture = Image.fromarray(np.full((105, 105), 255, np.uint8))
    picture.paste(0, (0, 0, 15, 15))
    fake = [(picture, 0)] * 1400
    monkeypatch.setattr("torchvision.datasets.Omniglot", lambda *_, **__: fake)
    found = Omniglot().read(tmp_path, download=False)
    assert found.train.shape == (55, 784)
    image = found.test[0].view(28, 28)
    assert (image[:4, :4] == 255).all()
    assert not image[5:, 5:].any()


def test_every_data_set_has_a_name():
    assert set(DATASETS) == {
        "mnist",
        "fashion_mnist",
        "omniglot",
        "digits",
        "arrays",
        "folder",
        "vectors",
        "cifar10",
        "svhn",
        "wine",
        "breast_cancer",
        "iris",
        "diabetes",
        "checkerboard",
        "eight_gaussians",
        "face",
        "mixture",
        "noise",
        *("power", "gas", "hepmass", "miniboone", "bsds300"),
        "rings",
        "two_moons",
    }
