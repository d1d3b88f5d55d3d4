"""Checkpoints: read without running code, checked for damage, and loaded into models."""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nfvae.flows import make_density
from nfvae.models import make_vae
from nfvae.models.vae import DEFAULT_CONDITIONED
from nfvae.registry import check_choice
from nfvae.runs.digests import content_digest

MODELS: dict[str, Callable[..., nn.Module]] = {"vae": make_vae, "density": make_density}
"""Builder of each kind of plain model."""
WEIGHTS: dict[str, Callable[[Tensor], Tensor | None]] = {
    "full": lambda value: value,
    "half": lambda value: value.half() if value.is_floating_point() else value,
    "none": lambda value: None,
}
"""How to export the weights of a run: unchanged, in 16 bits, or not at all."""
_DATA = ("datamodule_hyper_parameters",)
_PARTS = {"hyper_parameters", "global_step", "epoch", "state_dict", "task", "model"}  # parts of every checkpoint
_TYPES: dict[str, type | tuple[type, ...]] = {
    "hyper_parameters": dict,
    "datamodule_hyper_parameters": (dict, type(None)),
    "global_step": int,
    "epoch": int,
    "state_dict": dict,
    "task": str,
    "model": str,
    "optimizer_states": list,
    "lr_schedulers": list,
    "loops": dict,
    "callbacks": dict,
}
_LATER_SETTINGS: dict[str, dict[str, Any]] = {
    "vae": {
        "likelihood": "bernoulli",
        "likelihood_options": None,
        "conditioned": list(DEFAULT_CONDITIONED),
        "levels": 2,
        "conditions": 0,
        "missing": False,
    },
    "density": {"levels": None, "conditions": 0, "base": "normal", "base_options": None, "support": "real"},
}
"""Settings of each kind of model that earlier versions did not write, with the values that they used."""
_BY_NAME = ("hyper_parameters", "datamodule_hyper_parameters", "state_dict", "loops", "callbacks")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of nfvae without running any code in it.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file is damaged or not a checkpoint of nfvae.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        with warnings.catch_warnings(action="ignore"):  # about other kinds of files, which are refused here
            checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        digests = checkpoint.pop("digests")
        damaged = [name for name in {*_PARTS, *digests} if digests[name] != content_digest({name: checkpoint[name]})]
    except Exception as error:  # the unpickler can raise any exception
        raise ValueError(f"{path} is not a checkpoint of nfvae, or is damaged ({type(error).__name__})") from error
    if damaged:
        raise ValueError(f"{path} is damaged: changed since it was written: {', '.join(sorted(damaged))}")
    _check_types(checkpoint, path)
    return checkpoint


def with_later_settings(kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Add to hyperparameters those that an earlier version did not write."""
    return _LATER_SETTINGS.get(kind, {}) | dict(settings)


def _check_types(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Refuse a checkpoint whose parts have unexpected types; their contents are checked later."""
    for name, expected in _TYPES.items():
        value = checkpoint.get(name)
        if name in checkpoint and (not isinstance(value, expected) or isinstance(value, bool)):
            raise ValueError(f"{path} is damaged: its {name} is of type {type(value).__name__}")
    for name in _BY_NAME:
        if wrong := [key for key in checkpoint.get(name) or {} if not isinstance(key, str)]:
            raise ValueError(f"{path} is damaged: its {name} has {wrong[0]!r} in the place of a name")
    if wrong := [name for name in ("global_step", "epoch") if checkpoint[name] < 0]:
        raise ValueError(f"{path} is damaged: its {wrong[0]} is {checkpoint[wrong[0]]}")
    for name, value in checkpoint["state_dict"].items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{path} is damaged: its weights {name} are of type {type(value).__name__}")
    check_choice("model", checkpoint["model"], MODELS)


@contextmanager
def taken_from(path: Path, what: str) -> Iterator[None]:
    """Turn an exception that odd content of a checkpoint causes into a ValueError that names the file.

    Args:
        path: the checkpoint.
        what: name of the object built from its content, for the message.

    Raises:
        ValueError: for any exception; ValueError, OSError and MemoryError pass unchanged.
    """
    try:
        yield
    except (ValueError, OSError, MemoryError):
        raise
    except Exception as error:
        said = next(iter(str(error).splitlines()), "")
        raise ValueError(f"{path} gives no {what}: {type(error).__name__} {said}") from error


def check_alike(name: str, saved: Any, expected: Any) -> None:
    """Refuse a part of a checkpoint whose structure differs from that of the training.

    Args:
        name: name of the part, for the message.
        saved: the part in the checkpoint.
        expected: the part in the training; numbers may differ, names may be missing, and None matches anything.

    Raises:
        ValueError: if a type or shape differs, or a number is not finite or has another sign.
    """
    if isinstance(expected, Mapping) and isinstance(saved, Mapping):
        for key, each in expected.items():
            if key in saved:
                check_alike(f"{name}.{key}", saved[key], each)
    elif isinstance(expected, list | tuple) and isinstance(saved, list | tuple) and len(saved) == len(expected):
        for place, each in enumerate(expected):
            check_alike(f"{name}.{place}", saved[place], each)
    elif isinstance(expected, Tensor) and isinstance(saved, Tensor):
        if saved.shape != expected.shape or saved.is_floating_point() != expected.is_floating_point():
            raise ValueError(f"the checkpoint is damaged: its {name} has shape {[*saved.shape]} and type {saved.dtype}")
    elif expected is not None and not _is_alike(saved, expected):
        raise ValueError(f"the checkpoint is damaged: its {name} should not be {saved!r:.60}")


def _is_alike(saved: Any, expected: Any) -> bool:
    """Return whether a single value can replace the expected one."""
    if type(expected) in (int, float):
        types = (int, float) if type(expected) is float else (int,)
        return type(saved) in types and math.isfinite(saved) and (saved >= 0 or expected < 0)
    return type(saved) is type(expected) and not isinstance(expected, Mapping | list | tuple | Tensor)


def seal(checkpoint: dict[str, Any]) -> None:
    """Add digests to a checkpoint, which reveal later damage."""
    checkpoint["digests"] = {name: content_digest({name: value}) for name, value in checkpoint.items()}


def model_digest(checkpoint: Mapping[str, Any]) -> str:
    """Return a fingerprint of a checkpoint's model; without weights, the one stored at the export."""
    if "model_digest" in checkpoint:
        return str(checkpoint["model_digest"])
    return content_digest({name: checkpoint[name] for name in ("hyper_parameters", "state_dict")})


def exported(checkpoint: Mapping[str, Any], weights: str) -> dict[str, Any]:
    """Return a smaller checkpoint, from which no training can resume.

    Args:
        checkpoint: the complete checkpoint.
        weights: a name in `WEIGHTS`.

    Raises:
        ValueError: for a weight that is not finite, or is too large for 16 bits.
    """
    state = {name: WEIGHTS[weights](value) for name, value in checkpoint["state_dict"].items()}
    for name, value in state.items():
        if value is not None and not value.isfinite().all():
            if not (whole := checkpoint["state_dict"][name]).isfinite().all():
                raise ValueError(f"the weights {name} are not finite")
            largest, limit = float(whole.abs().max()), torch.finfo(value.dtype).max
            raise ValueError(f"the weights {name} reach {largest:,g}, and {limit:,g} is the most that 16 bits hold")
    small = {name: checkpoint[name] for name in (*_PARTS, *_DATA) if name in checkpoint}
    small["state_dict"] = {name: value for name, value in state.items() if value is not None}
    if not small["state_dict"]:
        small["model_digest"] = model_digest(checkpoint)
    seal(small)
    return small


def load_weights(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load weights into a model.

    Raises:
        ValueError: if the weights do not fit the model, or are not finite.
    """
    expected = {name: value.dtype for name, value in model.state_dict().items()}
    for name, value in state.items():
        with taken_from(path, "weights"):
            is_finite = bool(value.isfinite().all())
        if not is_finite:
            raise ValueError(f"{path} holds weights that are not finite: {name}")
        if name in expected and not _fits(value.dtype, expected[name]):
            raise ValueError(f"{path}: its weights {name} are {value.dtype}; expected {expected[name]}")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{path}: its weights do not fit its settings ({error})") from error


def _fits(given: torch.dtype, expected: torch.dtype) -> bool:
    """Return whether weights of one type can be loaded as another, such as float64 as float32."""
    return given == expected or (given.is_floating_point and expected.is_floating_point)
