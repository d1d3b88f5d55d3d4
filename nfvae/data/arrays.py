"""Your own images in one file of arrays."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor
from typing_extensions import override

from nfvae.data.batches import SPLITS, Part, Splits
from nfvae.data.binarize import above_half, fixed_draw
from nfvae.data.datasets import Dataset, ImageDataset
from nfvae.data.files import Stored, open_arrays
from nfvae.data.labels import as_classes, class_names
from nfvae.data.parts import RandomSplit, sorted_names
from nfvae.data.pixels import as_pixels, as_tensor, image_shape
from nfvae.models import DataSpec


class Arrays(ImageDataset):
    """Read images from a file of arrays: .npz, .npy, or .pt with a tensor or named tensors.

    The arrays `train`, `val` and `test` are the parts. Their names may also be `valid` or `validation`, in capitals, or
    like `x_train` or `train_images`. A missing part, test or validation, is drawn from the training part; a single
    array is split into all parts. Labels are named like `y_train` or `train_labels`, or `labels`. Masks are named like
    `train_mask`, or `mask`, and are 1 where a pixel is observed.

    Args:
        split: shares of the training, validation and test parts, if they are drawn.
        split_seed: random seed of the split.

    Raises:
        ValueError: for shares that do not add up to 1.
    """

    is_root = True

    def __init__(self, split: Sequence[float] = (0.8, 0.1, 0.1), split_seed: int = 0) -> None:
        self.split = RandomSplit(split, split_seed)

    @override
    def find_spec(self, root: Path) -> DataSpec:
        """Return the form of the images; for .npz and .npy files only the headers are read."""
        images, _, masks = self.stored(root)
        shape = _common_shape({source: array.shape for source, array in images.values()})
        return DataSpec(shape, 256, missing=bool(masks))

    @override
    def find_classes(self, root: Path) -> list[str]:
        return self.classes_of(self.stored(root)[1])[1]

    @override
    def read(self, root: Path, download: bool) -> Splits:
        """Read the file that is the data root."""
        images, labels, masks = self.stored(root)
        pixels = as_pixels({source: array.read() for source, array in images.values()})
        y, _ = self.classes_of(labels) if self.labels else ({}, [])
        parts: dict[str, Any] = {}
        for part, each in zip(images, pixels, strict=True):
            observed = mask_of(*masks[part], each.shape) if part in masks else None
            is_plain = part not in y and observed is None
            parts[part] = each.flatten(1) if is_plain else Part(each.flatten(1), y.get(part), observed)
        return self.split.complete(parts, root)

    @staticmethod
    def classes_of(labels: Mapping[str, tuple[str, Stored]]) -> tuple[dict[str, Tensor], list[str]]:
        """Return the classes of the data of each part, and the names of all classes."""
        read = {part: (source, array.read()) for part, (source, array) in labels.items()}
        names = class_names([values for _, values in read.values()])
        return {part: as_classes(values, names, source) for part, (source, values) in read.items()}, names

    def stored(self, path: Path) -> tuple[dict[str, tuple[str, Stored]], ...]:
        """Return images, labels and masks by part, each with its source; a single array is of the part ""."""
        arrays = open_arrays(path)
        if len(arrays) == 1:
            [(name, array)] = arrays.items()
            return {"": (f"{name} of {path}" if name else str(path), array)}, {}, {}
        found = sorted_names([*arrays], path)
        return tuple({part: (f"{name} of {path}", arrays[name]) for part, name in names.items()} for names in found)


def mask_of(source: str, stored: Stored, shape: Sequence[int]) -> Tensor:
    """Return which pixels are observed, with shape (N, P); a mask without channels is that of all channels.

    Raises:
        ValueError: for another shape, or values that are not 0 and 1.
    """
    mask = stored.read()
    mask = mask[:, None].expand(shape) if len(shape) == 4 and mask.ndim == 3 else mask
    if tuple(mask.shape) != tuple(shape):
        raise ValueError(f"{source} should have the shape of the images, {tuple(shape)}; got {tuple(mask.shape)}")
    if not ((mask == 0) | (mask == 1)).all():
        raise ValueError(f"{source} should hold zeros and ones alone; got {mask.min():g} to {mask.max():g}")
    return mask.flatten(1).bool()


def binarized_images(path: Path, pixels: Tensor, binarization: str) -> Tensor:
    """Binarize gray images like those of a test set: drawn once, or by the threshold; uint8."""
    is_threshold = binarization == "threshold"
    if bool(((pixels > 0) & (pixels < 255)).any()):
        how = "1 above 127, else 0" if is_threshold else "drawn once from a fixed seed"
        rank_zero_info(f"{path}: gray pixels are {how} (binarization {binarization})")
    return above_half(pixels) if is_threshold else fixed_draw(pixels, SPLITS.index("test"))


class GivenTensors(Dataset):
    """Data in memory: see `DataModule.from_tensors`."""

    def __init__(self, train: Any, val: Any, test: Any, labels: Any = None) -> None:
        given = {name: as_tensor(values, name) for name, values in zip(SPLITS, (train, val, test), strict=True)}
        self.found, parts = self._vectors(given) if given["train"].ndim == 2 else self._images(given)
        self.names: list[str] = []
        if labels is not None:
            own = [as_tensor(each, f"labels of {name}") for each, name in zip(labels, SPLITS, strict=True)]
            self.names = class_names(own)
            parts = [Part(x, as_classes(y, self.names, "labels")) for x, y in zip(parts, own, strict=True)]
        self.parts = Splits(*parts)

    @staticmethod
    def _images(given: Mapping[str, Tensor]) -> tuple[DataSpec, list[Any]]:
        shape = _common_shape({name: tuple(images.shape) for name, images in given.items()})
        return DataSpec(shape, 256), [part.flatten(1) for part in as_pixels(given)]

    @staticmethod
    def _vectors(given: Mapping[str, Tensor]) -> tuple[DataSpec, list[Any]]:
        shapes = {tuple(each.shape[1:]) for each in given.values()}
        if len(shapes) > 1:
            raise ValueError(f"the parts hold vectors of several sizes: {', '.join(map(str, sorted(shapes)))}")
        parts = [each.float() for each in given.values()]
        missing = any(bool(part.isnan().any()) for part in parts)
        return DataSpec(shapes.pop(), None, missing=missing), parts

    @override
    def find_spec(self, root: Path) -> DataSpec:
        return self.found

    @override
    def find_classes(self, root: Path) -> list[str]:
        return self.names

    @override
    def read(self, root: Path, download: bool) -> Splits:
        """Return the data."""
        return self.parts


def _common_shape(shapes: Mapping[str, Sequence[int]]) -> tuple[int, ...]:
    """Return the shape of an image that all arrays must share, given their shapes by source."""
    found = {source: image_shape(shape, source) for source, shape in shapes.items()}
    if all(len(shape) == 3 and shape[0] == shape[1] < shape[2] for shape in shapes.values()):
        source, (side, _, last) = next(iter(shapes.items()))
        raise ValueError(
            f"{source} has shape {(side, side, last)}: where these are {last} images of {side}x{side} pixels, move the "
            f"last axis to the front, as np.moveaxis(images, -1, 0); where they are {side} images of {side}x{last} "
            "pixels, give them a channel, as images[:, None]"
        )
    if len(several := set(found.values())) > 1:
        raise ValueError(f"the parts hold images of several sizes: {', '.join(map(str, sorted(several)))}")
    return several.pop()
