"""Images of your own in a folder of picture files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nfvae.data.batches import SPLITS, Splits
from nfvae.data.datasets import ImageDataset
from nfvae.data.gray import check_shares, drawn_splits
from nfvae.registry import check_sizes

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".webp")


class Folder(ImageDataset):
    """Picture files, made gray; folders `train`, `val` and `test` are the parts, else they are drawn.

    Args:
        size: height and width to which pictures are resized; by default all must have one size.
        split: shares of the parts, where they are drawn.
        split_seed: of that draw.

    Raises:
        ValueError: for shares that do not add up to 1, or a size below 1.
    """

    def __init__(
        self, size: Sequence[int] | None = None, split: Sequence[float] = (0.8, 0.1, 0.1), split_seed: int = 0
    ) -> None:
        check_shares(split)
        if size is not None:
            if len(size) != 2:
                raise ValueError(f"size takes height and width; got {size!r}")
            check_sizes(height=size[0], width=size[1])
        self.size, self.split, self.split_seed = size, split, split_seed

    def find_shape(self, root: Path) -> tuple[int, int]:  # noqa: D102
        if self.size is not None:
            return self.size[0], self.size[1]
        height, width = self._picture(_files(root)[0]).shape
        return height, width

    def read(self, root: Path, download: bool) -> Splits:
        """Read the pictures under the data root."""
        if all((root / name).is_dir() for name in SPLITS):
            return Splits(*(self._pictures(root / name) for name in SPLITS))
        return drawn_splits(self._pictures(root), self.split, self.split_seed, root)

    def _pictures(self, folder: Path) -> Tensor:
        files = _files(folder)
        first, pictures = self._picture(files[0]), []
        for file in files:
            picture = self._picture(file)
            if picture.shape != first.shape:
                raise ValueError(
                    f"{file} has {[*picture.shape]} pixels, {files[0]} {[*first.shape]}: give a size, as "
                    "--data.dataset_options.size [28,28]"
                )
            pictures.append(picture.flatten())
        return torch.stack(pictures)

    def _picture(self, file: Path) -> Tensor:
        from PIL import Image

        try:
            with Image.open(file) as picture:
                gray = picture.convert("L")
                if self.size is not None:
                    gray = gray.resize((self.size[1], self.size[0]), Image.Resampling.BOX)
                return torch.from_numpy(np.array(gray))
        except Exception as error:  # whatever the reader stumbles over
            raise ValueError(f"cannot read {file}: {error}") from error


def _files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _PICTURES)
    if not files:
        raise ValueError(f"there are no pictures under {folder}: --data.root names their folder")
    return files
