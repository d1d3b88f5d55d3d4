"""Rows of data, as a model takes them: values, then conditions."""

from typing import Any

import torch
from torch import Tensor

from nfvae.models.likelihoods import DataSpec, Likelihood
from nfvae.numerics import as_tensor


def as_rows(x: Any, condition: Any, likelihood: Likelihood, like: Tensor | None) -> Tensor:
    """Convert data to rows with shape (B, P + C); `VAE.as_data` describes arguments and errors.

    Args:
        x: the data.
        condition: conditions, or None.
        likelihood: likelihood with the form of the data, which checks the values.
        like: a tensor of the type and on the device of the rows; None to keep those of x.
    """
    spec, noun = likelihood.spec, "images" if likelihood.spec is None else likelihood.spec.noun
    data = _plain(noun, x)
    if condition is not None and data.ndim > 1:
        data = torch.cat([data.flatten(1), as_condition(condition, len(data), spec).to(data)], 1)
    size = data[:1].numel() if spec is None else spec.width
    if data.ndim < 2 or data[:1].numel() != size * len(data[:1]):
        side = "" if spec is None or spec.conditions else f" or (B, {', '.join(map(str, spec.shape))})"
        hint = f": {spec.size} values, then {spec.conditions} conditions" if spec and spec.conditions else ""
        raise ValueError(f"expected {noun} with shape (B, {size}){side}; got {tuple(data.shape)}{hint}")
    data = data.flatten(1) if like is None else data.flatten(1).to(like.device, like.dtype)
    values, given = split_rows(data, spec)
    likelihood.check(torch.where(values.isnan(), likelihood.fill, values) if spec and spec.missing else values)
    if given is not None and not given.isfinite().all():
        raise ValueError("expected a finite condition of each datum; got NaN or infinity")
    return data


def as_condition(condition: Any, count: int, spec: DataSpec | None) -> Tensor:
    """Return conditions with shape (count, C), given with that shape or (C,), as float32.

    Raises:
        ValueError: for conditions of another shape, or of data without any.
    """
    size = 0 if spec is None else spec.conditions
    given = _plain("conditions", condition)
    if not size:
        raise ValueError("this model has no conditions, such as labels; got some")
    if given.shape not in ((size,), (count, size)):
        raise ValueError(f"expected conditions with shape ({count}, {size}) or ({size},); got {tuple(given.shape)}")
    return given.float().expand(count, size)


def split_rows(x: Tensor, spec: DataSpec | None) -> tuple[Tensor, Tensor | None]:
    """Split rows of data into values with shape (B, P) and conditions with shape (B, C), None if there are none."""
    if spec is None or not spec.conditions:
        return x, None
    return x[..., : spec.size], x[..., spec.size :]


def _plain(noun: str, x: Any) -> Tensor:
    data = as_tensor(noun, x)
    if data.is_complex() or data.layout != torch.strided:
        raise ValueError(f"expected {noun} in a plain tensor of real numbers; got {data.dtype}, {data.layout}")
    return data
