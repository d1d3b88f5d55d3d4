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
    }[name]()
