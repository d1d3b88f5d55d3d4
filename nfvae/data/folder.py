"""Your own images in a folder of picture files."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_info
from typing_extensions import override

from nfvae.data.batches import Part, Splits
from nfvae.data.datasets import ImageDataset
from nfvae.data.parts import RandomSplit, find_parts, part_named
from nfvae.data.pictures import ENDINGS, read_picture
from nfvae.registry import check_flag, check_sizes

_ALL = ""  # key of pictures that are in no folder of a part


class Folder(ImageDataset):
    """Read picture files from folders `train`, `val` and `test`, or draw these parts at random.

    `valid` and `validation` also stand for `val`, in capitals too; a missing `val` or `test` is drawn from `train`.
    Hidden files and folders are left out. Transparent pixels count as paper, which becomes 0. Labels are the names of
    the folders in the folder of a part.

    Args:
        size: height and width to which pictures are resized; by default all must have the same size.
        color: whether to keep colors; if not, colors become gray.
        invert: whether to turn dark on light into light on dark, since ink is 1 and paper 0.
        split: shares of the training, validation and test parts, if they are drawn.
        split_seed: random seed of the split.

    Raises:
        ValueError: for shares that do not add up to 1, a size below 1, or an option of another type.
    """

    is_root = True

    def __init__(
        self,
        size: Sequence[int] | None = None,
        color: bool = False,
        invert: bool = False,
        split: Sequence[float] = (0.8, 0.1, 0.1),
        split_seed: int = 0,
    ) -> None:
        check_flag("color", color)
        check_flag("invert", invert)
        if size is not None:
            if not isinstance(size, list | tuple) or len(size) != 2:
                raise ValueError(f"size takes height and width, as [28, 28]; got {size!r}")
            check_sizes(height=size[0], width=size[1])
        self.size, self.color, self.invert = size, color, invert
        self.split = RandomSplit(split, split_seed)

    @override
    def find_shape(self, root: Path) -> tuple[int, ...]:
        if self.size is not None:
            return (*([3] if self.color else []), self.size[0], self.size[1])
        first = next(iter(_find_files(root).values()))[0]
        return tuple(read_picture(first, self.size, self.invert, self.color)[0].shape)

    @override
    def find_classes(self, root: Path) -> list[str]:
        files = _find_files(root)
        names = {_class_of(path, root) for paths in files.values() for path in paths}
        return sorted(names)

    @override
    def read(self, root: Path, download: bool) -> Splits:
        """Read the pictures under the data root."""
        files = _find_files(root)
        parts = self._read_files(files, root)
        if any(file.parent != root for file in files.get(_ALL, ())):
            rank_zero_info(f"no folder in {root} is named as a part: all pictures below it are one set, and split")
        return self.split.complete(parts, root)

    def _read_files(self, files: Mapping[str, Sequence[Path]], root: Path) -> dict[str, Any]:
        """Read the pictures of each part, and report what is lost in the conversion."""
        shape, first = self.find_shape(root), next(iter(files.values()))[0]
        parts: dict[str, Any] = {}
        classes = self.find_classes(root) if self.labels else []
        lost: dict[str, list[Path]] = defaultdict(list)
        for part, paths in files.items():
            parts[part] = torch.empty(len(paths), math.prod(shape), dtype=torch.uint8)
            for place, path in enumerate(paths):
                image, losses = read_picture(path, self.size, self.invert, self.color)
                if image.shape != shape:
                    raise ValueError(
                        f"{path} has {[*image.shape]} pixels, {first} {[*shape]}: give a size, as "
                        "--data.dataset_options.size [28,28]"
                    )
                parts[part][place] = image.flatten()
                for loss in losses:
                    lost[loss].append(path)
            if classes:
                y = torch.tensor([classes.index(_class_of(path, root)) for path in paths])
                parts[part] = Part(parts[part], y)
        for loss, paths in lost.items():
            rank_zero_info(f"{len(paths):,} of the pictures under {root} {loss}, as {paths[0]}")
        return parts


def _class_of(path: Path, root: Path) -> str:
    """Return the label of a picture, the name of its folder below that of its part.

    Raises:
        ValueError: for a picture that lies in no such folder.
    """
    folders = path.relative_to(root).parts[:-1]
    if not (own := folders[1:] if folders and part_named(folders[0]) else folders):
        raise ValueError(f"{path} lies in no folder that names its label")
    return own[0]


def _find_files(root: Path) -> dict[str, list[Path]]:
    """Find the pictures of each part, or all pictures if no folder stands for a part."""
    entries = sorted(entry for entry in root.glob("*") if not _is_hidden(entry, root))
    for entry in entries:
        if part_named(entry.name) and not entry.is_dir():
            raise ValueError(f"{entry} is no folder, but named as that of a part: rename or remove it")
    folders = find_parts([entry.name for entry in entries if entry.is_dir()], root)
    if not folders:
        files = _pictures(root)
        _check_deeper(files, root)
        return {_ALL: files}
    if loose := sorted(entry for entry in entries if entry.suffix.lower() in ENDINGS and not entry.is_dir()):
        raise ValueError(f"{loose[0]} lies beside the folders {', '.join(folders.values())}: move or remove it")
    return {part: _pictures(root / name) for part, name in folders.items()}


def _pictures(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and not path.is_fifo())
    files = [path for path in files if not _is_hidden(path, folder)]
    if not files:
        raise ValueError(f"there are no pictures under {folder}; expected files {', '.join(ENDINGS)}")
    return files


def _is_hidden(path: Path, root: Path) -> bool:
    """Return whether a path below the root is hidden, or belongs to a system or an editor."""
    return any(name.startswith(".") or name == "__MACOSX" for name in path.relative_to(root).parts)


def _check_deeper(files: Sequence[Path], root: Path) -> None:
    """Refuse folders of parts that lie deeper, since their parts would be mixed."""
    parts: dict[Path, set[str | None]] = defaultdict(set)
    for folder in {folder for file in files for folder in file.relative_to(root).parents}:
        parts[folder.parent].add(part_named(folder.name))
    for folder, found in sorted(parts.items()):
        if {"train", "test"} <= found:
            raise ValueError(
                f"{root / folder} holds folders of parts, but {root} does not: name it as the root, or bring all of a "
                f"part together in {root / 'train'} and {root / 'test'}"
            )
