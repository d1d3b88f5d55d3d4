"""OMNIGLOT, handwritten characters of many alphabets."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from nfvae.data.batches import Splits
from nfvae.data.datasets import DATA_ROOT_VARIABLE, ImageDataset

_FILE = "chardata.mat"
_TRAIN, _TEST, _VALIDATION = 24_345, 8_070, 1_345
_SIDE = 28


class Omniglot(ImageDataset):
    """28x28 characters in the split of Burda et al. (arXiv 1509.00519): 23,000, 1,345 and 8,070 of them.

    If the data root has no chardata.mat, torchvision's characters are used, reduced in size. Their split is by
    alphabets, 19,280 and 13,180, so likelihoods cannot be compared with those of papers.
    """

    shape = (_SIDE, _SIDE)

    @override
    def read(self, root: Path, download: bool) -> Splits:
        """Read chardata.mat under the data root, or have torchvision read or download its files."""
        for path in (root / _FILE, root / "omniglot" / _FILE, root / "OMNIGLOT" / _FILE):
            if path.is_file():
                return _split(*_chardata(path))
        return _split(self._torchvision(root, True, download), self._torchvision(root, False, download))

    def _torchvision(self, root: Path, background: bool, download: bool) -> Tensor:
        from torchvision import datasets

        try:
            data = datasets.Omniglot(str(root), background=background, download=download)
            images = [_small(data[place][0]) for place in range(len(data))]
        except Exception as error:  # torchvision passes on any error of its reader
            said = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(
                f"cannot read OMNIGLOT under {root} ({said}); put {_FILE} there, or point --data.root or "
                f"{DATA_ROOT_VARIABLE} elsewhere"
            ) from error
        return torch.stack(images)


def _split(train: Tensor, test: Tensor) -> Splits:
    return Splits(train[:-_VALIDATION], train[-_VALIDATION:], test)


def _chardata(path: Path) -> tuple[Tensor, Tensor]:
    """Read training and test images, which are stored as columns, each image in column-major order."""
    from scipy.io import loadmat

    try:
        content = loadmat(path)
    except Exception as error:  # any error of the reader
        raise ValueError(f"cannot read {path}: {error or type(error).__name__}") from error
    if missing := [name for name in ("data", "testdata") if name not in content]:
        raise ValueError(f"{path} holds no {' and no '.join(missing)}, which are Burda's names of its parts")
    parts = [content["data"], content["testdata"]]
    for part, count in zip(parts, (_TRAIN, _TEST), strict=True):
        if part.shape != (_SIDE**2, count) or part.dtype.kind not in "fiub" or not ((part >= 0) & (part <= 1)).all():
            raise ValueError(f"{path} should hold {count} columns of {_SIDE**2} numbers in [0, 1]; got {part.shape}")
    train, test = (
        torch.from_numpy(np.rint(255 * part.T.reshape(-1, _SIDE, _SIDE).transpose(0, 2, 1)).astype(np.uint8)).flatten(1)
        for part in parts
    )
    return train, test


def _small(picture: object) -> Tensor:
    """Turn a black drawing on 105x105 white pixels into a white one on 28x28 black pixels."""
    from PIL import Image

    assert isinstance(picture, Image.Image)
    small = picture.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    return 255 - torch.from_numpy(np.array(small)).flatten()
