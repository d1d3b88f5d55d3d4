"""Images of one's own: files of arrays, folders of pictures, tensors at hand, and OMNIGLOT's files."""

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import Trainer

from nfvae import BinarizedImages, FlowVAE
from nfvae.data import DATASETS
from nfvae.data.arrays import Arrays
from nfvae.data.gray import as_gray, drawn_splits
from nfvae.data.omniglot import Omniglot

GRAY = torch.randint(0, 256, (20, 6, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def splits(root, dataset="arrays", **options):
    data = BinarizedImages(dataset, root=str(root), dataset_options=options)
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
    gray = as_gray(images, "here")
    assert gray.dtype == torch.uint8
    assert torch.equal(gray, expected.to(torch.uint8))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (GRAY[0], r"here should hold gray images, shape \(N, height, width\); got \(6, 5\)"),
        (GRAY[:0], "here should hold gray images"),
        (GRAY[:, None].expand(-1, 3, -1, -1), "here should hold gray images"),
        (GRAY.double() - 1, "here should hold 0 and 1, gray from 0 to 1, or 0 ... 255; got -1 to 254"),
        (GRAY.long() * 2, "got 0 to 5"),
        (GRAY * 0.5, "got 0 to 127.5"),
        (GRAY.double() * torch.nan, "got nan to nan"),
        (GRAY // 16, r"here holds 0 ... 15, nearly black as 0 ... 255: divide it by its largest value"),
        (GRAY.double().to_sparse(), "here is no plain tensor"),
        (torch.empty(2, 3, 4, device="meta"), "here is no plain tensor"),
    ],
)
def test_other_images_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        as_gray(images, "here")


@pytest.mark.parametrize("suffix", ["npz", "pt"])
def test_parts_are_read_as_they_are(tmp_path, suffix):
    file = tmp_path / f"own.{suffix}"
    np.savez(file, **parts()) if suffix == "npz" else torch.save(parts(), file)
    data = splits(file)
    assert data.shape == (6, 5)
    assert torch.equal(data.splits.train, GRAY[:12].flatten(1))
    assert len(data.images("val")) == 3


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
    rows = drawn_splits(GRAY.flatten(1), [0.5, 0.25, 0.25], 0, file)
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
    assert splits(tmp_path / "own", "folder", size=[3, 4]).shape == (3, 4)
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
    np.savez(tmp_path / "sizes.npz", **(parts() | {"val": GRAY[:, :4]}))
    for root, dataset, options, message in [
        ("own", "folder", {}, r"pixels, .* give a size"),
        ("none", "folder", {}, "there are no pictures under"),
        ("none.npz", "arrays", {}, "there is no file .*none.npz; expected an .npz, .npy or .pt"),
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
            BinarizedImages(dataset, root=str(tmp_path / root), dataset_options=options, download=False).setup()


def test_tensors_at_hand_are_trained_on(tmp_path):
    data = BinarizedImages.from_tensors(**parts(GRAY / 255), batch_size=4)
    trainer = Trainer(
        max_epochs=1, logger=False, enable_progress_bar=False, default_root_dir=tmp_path, accelerator="cpu"
    )
    trainer.fit(FlowVAE("planar", 1, context=2, latent=2, shape=[6, 5]), data)
    assert torch.equal(data.splits.train, GRAY[:12].flatten(1))
    with pytest.raises(ValueError, match="the parts hold images of several sizes"):
        BinarizedImages.from_tensors(GRAY, GRAY[:, :3], GRAY)


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
    assert set(DATASETS) == {"mnist", "fashion_mnist", "omniglot", "digits", "arrays", "folder"}
