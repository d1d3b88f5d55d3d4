"""The files that the docs and configs/data/*.yaml speak of, of random content."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.io import savemat

from tests.helpers.idx import write_mnist


def letters():
    return torch.randint(0, 256, (1000, 20, 16), dtype=torch.uint8)


def write_arrays(root, images):
    torch.save(images, root / "letters.pt")
    np.savez(root / "letters.npz", train=images[:800], val=images[800:900], test=images[900:])


def write_pictures(root, images):
    folder = root / "pictures"
    folder.mkdir()
    for place, image in enumerate(images[:40]):
        Image.fromarray(image.numpy()).save(folder / f"{place}.png")


def write_omniglot(root):
    random = np.random.default_rng(0)
    parts = {"data": 24_345, "testdata": 8_070}
    savemat(
        root / "chardata.mat", {name: random.integers(0, 2, (784, count), np.uint8) for name, count in parts.items()}
    )


def write_dataset(name: str, root: Path):
    """Write what a data set of this name reads under a root."""
    {
        "arrays": lambda: write_arrays(root, letters()),
        "fashion_mnist": lambda: write_mnist(root, "FashionMNIST"),
        "folder": lambda: write_pictures(root, letters()),
        "omniglot": lambda: write_omniglot(root),
        "vectors": lambda: write_table(root),
        **dict.fromkeys(("cifar10", "svhn"), lambda: None),
    }[name]()


def write_table(root, count=200):
    """A table of two classes with a missing value, named columns and a column of text."""
    random = np.random.default_rng(0)
    kind = random.integers(0, 2, count)
    values = random.normal(size=(count, 3)) * [1, 10, 0.1] + kind[:, None] * [3, -20, 0.3]
    rows = [",".join([*map(str, row), ("north", "south")[k]]) for row, k in zip(values, kind, strict=True)]
    (root / "labeled.csv").write_text("\n".join(["width,height,depth,label", *rows]) + "\n")
    (root / "table.csv").write_text("\n".join(["width,height,depth", *(row.rpartition(",")[0] for row in rows)]) + "\n")


def write_counts(root):
    """A table of counts."""
    np.savetxt(root / "counts.csv", np.random.default_rng(0).poisson(3.0, (60, 4)), fmt="%d", delimiter=",")


def write_holes(root):
    """A table with missing cells, and images of 8x8 pixels whose lower half is missing."""
    rows = (root / "table.csv").read_text().splitlines()
    holes = [rows[0], *(row if place % 3 else "," + row.partition(",")[2] for place, row in enumerate(rows[1:]))]
    (root / "holes.csv").write_text("\n".join(holes) + "\n")
    mask = np.ones((3, 8, 8))
    mask[:, 4:] = 0
    np.savez(root / "half.npz", images=np.random.default_rng(0).integers(0, 2, (3, 8, 8)), mask=mask)


def color_data(monkeypatch, count=60):
    """torchvision's color data sets, few and random: their files carry digests, which nothing else can have."""
    from types import SimpleNamespace

    import torchvision

    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    labels = random.integers(0, 10, count)
    cifar10 = SimpleNamespace(data=images, targets=labels.tolist())
    svhn = SimpleNamespace(data=images.transpose(0, 3, 1, 2), labels=labels)
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", lambda *_, **__: cifar10)
    monkeypatch.setattr(torchvision.datasets, "SVHN", lambda *_, **__: svhn)
    for name in ("CIFAR10", "SVHN"):
        monkeypatch.setattr(f"nfvae.data.torchvision.{name}.counts", (count - 10, 10, count))
    return images.transpose(0, 3, 1, 2), labels
