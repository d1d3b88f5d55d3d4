"""Scikit-learn's bundled handwritten digits."""

from pathlib import Path

import numpy as np
import torch
from typing_extensions import override

from nfvae.data.batches import Splits
from nfvae.data.datasets import ImageDataset


class Digits(ImageDataset):
    """1,797 digits of 8x8 pixels and 17 gray levels; of every seven, the last two are for validation and test."""

    shape = (8, 8)

    @override
    def read(self, root: Path, download: bool) -> Splits:
        """Read the digits from the installed package."""
        from sklearn.datasets import load_digits

        images = torch.from_numpy(np.rint(load_digits().data * (255 / 16)).astype(np.uint8))
        turn = torch.arange(len(images)) % 7
        return Splits(images[turn < 5], images[turn == 5], images[turn == 6])
