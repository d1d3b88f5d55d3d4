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
_WIDE = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")  # modes that a conversion to 8 bits would cut off


class Folder(ImageDataset):
    """Picture files, made gray; folders `train`, `val` and `test` are the parts, else they are drawn.

    Args:
        size: height and width to which pictures are resized; by default all must have one size.
        invert: whether dark on light is made light on dark, as ink is 1 and paper 0.
        split: shares of the parts, where they are drawn.
        split_seed: of that draw.

    Raises:
        ValueError: for shares that do not add up to 1, or a size below 1.
    """

    def __init__(
        self,
        size: Sequence[int] | None = None,
        invert: bool = False,
        split: Sequence[float] = (0.8, 0.1, 0.1),
        split_seed: int = 0,
    ) -> None:
        check_shares(split)
        if size is not None:
            if len(size) != 2:
                raise ValueError(f"size takes height and width; got {size!r}")
            check_sizes(height=size[0], width=size[1])
        self.size, self.invert, self.split, self.split_seed = size, invert, split, split_seed

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
                if picture.mode in _WIDE:
                    raise ValueError(f"its pixels have more than 8 bits (mode {picture.mode}): save it with 8")
                gray = picture.convert("L")
                if self.size is not None:
                    gray = gray.resize((self.size[1], self.size[0]), Image.Resampling.BOX)
                values = torch.from_numpy(np.array(gray))
                return 255 - values if self.invert else values
        except Exception as error:  # whatever the reader stumbles over
            raise ValueError(f"cannot read {file}: {error}") from error


def _files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _PICTURES and not path.is_fifo())
    if not files:
        raise ValueError(f"there are no pictures under {folder}: --data.root names their folder")
    return files
