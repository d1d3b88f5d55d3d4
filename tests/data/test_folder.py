"""Folders of pictures: which files are read, which parts they are, and what becomes of their pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from nfvae import DataModule


def write(folder, count, shade=None, size=(8, 8)):
    """Pictures of the shades 0, 1, ..., or all of one."""
    folder.mkdir(parents=True, exist_ok=True)
    for place in range(count):
        Image.new("L", size, place if shade is None else shade).save(folder / f"{place:03}.png")


def read(root, **options):
    data = DataModule("folder", "threshold", root=str(root), dataset_options=options)
    data.setup()
    return data


@pytest.mark.parametrize("names", [("train", "valid", "test"), ("Train", "VALIDATION", "Test")])
def test_folders_of_parts_have_several_spellings(tmp_path, names):
    for name, count, shade in zip(names, (40, 10, 9), (0, 100, 255), strict=True):
        write(tmp_path / name, count, shade)
    (tmp_path / "labels.csv").write_text("")
    data = read(tmp_path)
    assert [len(part) for part in data.splits] == [40, 10, 9]
    assert data.splits.test.float().mean() == 1
    assert data.splits.val.float().mean() == 0


def test_a_missing_validation_part_is_drawn_from_the_training_part_alone(tmp_path, caplog):
    write(tmp_path / "train", 36, 0)
    write(tmp_path / "test", 10, 255)
    with caplog.at_level("INFO"):
        data = read(tmp_path)
    assert [len(part) for part in data.splits] == [32, 4, 10]
    assert [part.float().mean() for part in data.splits] == [0, 0, 1]
    assert "holds no val: it is 4 of the 36 training data, at random" in caplog.text


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["train"], "holds train, but no test; expected train and at least one of val and test"),
        (["val", "test"], "holds test, val, but no train"),
        (["train", "test", "test_masks"], "holds test, train beside test_masks: rename or remove these"),
        (["train", "tset"], "holds train beside tset"),
        (["train", "valid", "validation", "test"], "holds valid and validation, which both stand for val: remove one"),
        (["train", "val.file", "test"], "val is no folder, but named as that of a part"),
        (["train", "test", "loose.png"], "loose.png lies beside the folders test, train: move or remove it"),
        (["data/train", "data/test"], "data holds folders of parts, but .* does not: name it as the root"),
        (["cats/train", "cats/test", "dogs/train", "dogs/test"], "cats holds folders of parts"),
    ],
)
def test_unclear_parts_are_refused(tmp_path, folders, message):
    for name in folders:
        if name == "val.file":
            (tmp_path / "val").write_text("")
        elif name.endswith(".png"):
            Image.new("L", (8, 8)).save(tmp_path / name)
        else:
            write(tmp_path / name, 10)
    with pytest.raises(ValueError, match=message):
        read(tmp_path)


def test_an_empty_part_and_parts_of_several_sizes_are_refused(tmp_path):
    for name in ("train", "test"):
        write(tmp_path / name, 10)
    (tmp_path / "val").mkdir()
    with pytest.raises(ValueError, match=r"there are no pictures under .*val"):
        read(tmp_path)
    write(tmp_path / "val", 10, size=(8, 9))
    with pytest.raises(ValueError, match=r"has \[9, 8\] pixels, .* \[8, 8\]: give a size"):
        read(tmp_path)


def test_folders_that_are_no_parts_are_one_set_and_that_is_said(tmp_path, caplog):
    for name in ("cats", "dogs"):
        write(tmp_path / name, 10)
    with caplog.at_level("INFO"):
        assert sum(map(len, read(tmp_path).splits)) == 20
    assert caplog.text.count("no folder in") == 1


def test_hidden_files_and_folders_are_left_out(tmp_path):
    root = tmp_path / ".cache" / "own"  # hidden folders above the root do not count
    write(root, 10)
    write(root / ".ipynb_checkpoints", 1)
    for file in (root / "__MACOSX" / "3.png", root / "._3.png"):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(bytes(200))
    assert sum(map(len, read(root).splits)) == 10


def rgba():
    picture = Image.new("RGBA", (8, 8), (200, 200, 200, 0))
    ImageDraw.Draw(picture).rectangle((1, 1, 3, 4), (0, 0, 0, 255))
    return picture, {}


def la():
    return rgba()[0].convert("LA"), {}


def palette():
    picture = Image.new("P", (8, 8), 0)
    picture.putpalette([200] * 3 + [0] * 3)
    ImageDraw.Draw(picture).rectangle((1, 1, 3, 4), 1)
    return picture, {"transparency": 0}


def rgb():
    picture = rgba()[0].convert("RGB")
    return picture, {"transparency": (200, 200, 200)}


INK = torch.zeros(8, 8, dtype=torch.uint8)
INK[1:5, 1:4] = 1


@pytest.mark.parametrize("kind", [rgba, la, palette, rgb])
def test_transparent_pixels_are_paper(tmp_path, kind):
    for place in range(10):
        picture, options = kind()
        picture.save(tmp_path / f"{place}.png", **options)
    assert torch.equal(read(tmp_path, invert=True).splits.test[0], INK.flatten())
    assert not read(tmp_path).splits.test.any()  # black ink on what becomes black paper


def test_half_transparent_ink_is_half_as_dark(tmp_path):
    for place in range(10):
        Image.new("LA", (2, 1), (255, 51)).save(tmp_path / f"{place}.png")
    data = DataModule("folder", root=str(tmp_path))
    data.setup()
    assert data.splits.train.unique().tolist() == [51]


def test_pictures_are_turned_as_they_are_shown(tmp_path):
    picture = Image.fromarray(np.repeat([[0, 255, 255, 255]], 6, 0).repeat(2, 1).astype(np.uint8))  # dark on the left
    orientation = Image.Exif()
    orientation[0x0112] = 6  # to be turned clockwise
    for place in range(10):
        picture.save(tmp_path / f"{place}.jpg", exif=orientation, quality=100)
    data = read(tmp_path)
    assert data.spec.shape == (8, 6)
    assert data.splits.train[0].view(8, 6)[:, 0].tolist() == [0, 0, 1, 1, 1, 1, 1, 1]


def test_lost_colors_and_frames_are_said(tmp_path, caplog):
    for place in range(10):
        Image.new("RGB", (8, 8), (9 + place, 9 + place, 9)).save(tmp_path / f"{place}.png")
        frames = [Image.new("L", (8, 8), 10 * frame + place) for frame in range(3)]
        frames[0].save(tmp_path / f"{place}.gif", save_all=True, append_images=frames[1:])
    with caplog.at_level("INFO"):
        read(tmp_path)
    assert (
        f"9 of the pictures under {tmp_path} have colors, which are made gray, as {tmp_path / '1.png'}" in caplog.text
    )
    assert f"10 of the pictures under {tmp_path} have several frames, of which the first one is taken" in caplog.text


def test_gray_pictures_lose_nothing(tmp_path, caplog):
    for place in range(10):
        Image.new("RGB", (8, 8), (place,) * 3).save(tmp_path / f"{place}.jpg")
    with caplog.at_level("INFO"):
        read(tmp_path)
    assert not caplog.text


def test_images_that_do_not_differ_are_said(tmp_path, caplog):
    write(tmp_path / "train", 10, 7)
    write(tmp_path / "val", 10)
    write(tmp_path / "test", 1)
    with caplog.at_level("INFO"):
        read(tmp_path)
    assert "data that are all the same: 10 of train (all values 7)" in caplog.text
    assert "of val" not in caplog.text
    assert "of test" not in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"invert": "false"}, "invert must be true or false; got 'false'"),
        ({"invert": None}, "invert must be true or false; got None"),
        ({"invert": 1}, "invert must be true or false; got 1"),
        ({"split_seed": "x"}, "split_seed must be a whole number; got 'x'"),
        ({"split_seed": 1.5}, "split_seed must be a whole number; got 1.5"),
        ({"split_seed": None}, "split_seed must be a whole number; got None"),
        ({"split_seed": [1]}, r"split_seed must be a whole number; got \[1\]"),
        ({"split_seed": True}, "split_seed must be a whole number; got True"),
        ({"split_seed": -1}, "split_seed must be at least 0; got -1"),
        ({"split_seed": 2**70}, "split_seed must be at most 4,294,967,295"),
        ({"size": "28"}, r"size takes height and width, as \[28, 28\]; got '28'"),
        ({"size": 28}, r"size takes height and width, as \[28, 28\]; got 28"),
        ({"size": ["8", "8"]}, "height must be a whole number; got '8'"),
        ({"split": 3}, "split takes the shares of train, val, test"),
        ({"split": [0.5, 0.25, "0.25"]}, "a share of split must be a number; got '0.25'"),
    ],
)
def test_options_of_another_type_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DataModule("folder", root=str(Path("none")), dataset_options={"size": [8, 8]} | options)
