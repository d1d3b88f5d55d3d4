"""Rows of data for a trained model, from one file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from nfvae.data.arrays import Arrays, binarized_images, mask_of
from nfvae.data.batches import Part
from nfvae.data.content import LEVELS
from nfvae.data.pixels import as_pixels
from nfvae.data.vectors import Vectors
from nfvae.models import DataSpec


def read_rows(
    path: Path, spec: DataSpec, settings: Mapping[str, Any], columns: Sequence[str] = (), classes: Sequence[str] = ()
) -> Tensor:
    """Read a file with one set of data as rows of a model, with shape (N, P + C), or (N, P) without conditions.

    Images are in one array, beside which there may be `labels` and `mask`; gray ones are binarized like those of a test
    set. Vectors are in one table, or in one array whose columns are in the order of training.

    Args:
        path: the file.
        spec: form of the model's data.
        settings: settings of the model's training data.
        columns: names of the values of a table.
        classes: names of the model's classes.

    Raises:
        ValueError: for a file that is missing or damaged, or holds data of another form.
        OSError: for a file that cannot be read.
    """
    part, names = _images(path, spec, settings) if len(spec.shape) > 1 else _vectors(path, settings, columns)
    if tuple(part.x.shape[1:]) != (spec.size,):
        raise ValueError(f"{path} has {spec.noun} of {part.x.shape[1]} values; the run's have shape {spec}")
    x = part.x.float()
    if part.observed is not None:
        x = torch.where(part.observed, x, torch.nan)
    if x.isnan().any() and not spec.missing:
        raise ValueError(f"{path} has missing values; the run was trained without any, and models none")
    if not spec.conditions or part.y is None:
        return x
    return torch.cat([x, part.y.float() if part.y.is_floating_point() else _classes(part.y, names, classes, path)], 1)


def _images(path: Path, spec: DataSpec, settings: Mapping[str, Any]) -> tuple[Part, list[str]]:
    reader = Arrays()
    reader.labels = bool(settings.get("labels"))
    images, labels, masks = reader.stored(path)
    if [*images] != [""]:
        raise ValueError(f"{path} should hold one array of images; got {', '.join(images)}")
    [(source, array)] = images.values()
    pixels = as_pixels({source: array.read()})[0]
    if tuple(pixels.shape[1:]) != spec.shape:
        raise ValueError(f"{path} has images of shape {[*pixels.shape[1:]]}; the run's have {spec}")
    if spec.levels == 2:
        x = binarized_images(path, pixels, str(settings.get("binarization", "dynamic"))).float()
    else:
        x = pixels.float() / (LEVELS - 1)
    y, names = reader.classes_of(labels) if spec.conditions else ({}, [])
    observed = mask_of(*masks[""], pixels.shape) if masks else None
    return Part(x.flatten(1), y.get(""), observed), names


def _vectors(path: Path, settings: Mapping[str, Any], columns: Sequence[str]) -> tuple[Part, list[str]]:
    condition = settings.get("condition") or []
    reader = Vectors()
    reader.labels, reader.condition = settings.get("labels") or False, condition
    parts = reader.read_parts(path, [*columns, *condition])
    if [*parts] != [""]:
        raise ValueError(f"{path} should hold one set of vectors; got {', '.join(parts)}")
    return parts[""], reader.names


def _classes(y: Tensor, names: Sequence[str], classes: Sequence[str], path: Path) -> Tensor:
    """Return the one-hot classes of a model for labels, given as indices of names."""
    if unknown := [name for name in names if name not in classes]:
        raise ValueError(f"{path} has the label {unknown[0]!r}; the run's labels are {', '.join(classes)}")
    if (y < 0).any():
        raise ValueError(f"{int((y < 0).sum())} of the {len(y)} data of {path} have no label")
    known = torch.tensor([list(classes).index(name) for name in names])
    return one_hot(known[y], len(classes)).float()
