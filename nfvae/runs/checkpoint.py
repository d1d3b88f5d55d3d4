"""Checkpoints: read without running anything, checked against what was written, and loaded into models."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nfvae.flows import make_density
from nfvae.models import make_vae
from nfvae.registry import check_choice
from nfvae.runs.files import content_digest

MODELS: dict[str, Callable[..., nn.Module]] = {"vae": make_vae, "density": make_density}
"""Builder of each kind of plain model."""
WEIGHTS: dict[str, Callable[[Tensor], Tensor | None]] = {
    "full": lambda value: value,
    "half": lambda value: value.half() if value.is_floating_point() else value,
    "none": lambda value: None,
}
"""How the weights of a run are exported: as they are, in 16 bits, not at all."""
_DATA = ("datamodule_hyper_parameters",)
_PARTS = {"hyper_parameters", "global_step", "epoch", "state_dict", "task", "model"}  # of every checkpoint


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of one of our trainings; nothing that it holds is run.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if the file is something else or damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        with warnings.catch_warnings(action="ignore"):  # about files of other kinds, which are refused here
            checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        digests = checkpoint.pop("digests")
        damaged = [name for name in {*_PARTS, *digests} if digests[name] != content_digest({name: checkpoint[name]})]
    except Exception as error:  # whatever the unpickler stumbles over
        raise ValueError(f"{path} is not a checkpoint of nfvae, or is damaged ({type(error).__name__})") from error
    if damaged:
        raise ValueError(f"{path} is damaged: not what was written are {', '.join(sorted(damaged))}")
    check_choice("model", checkpoint["model"], MODELS)
    return checkpoint


def seal(checkpoint: dict[str, Any]) -> None:
    """Add to a checkpoint what tells whether its content is what was written."""
    checkpoint["digests"] = {name: content_digest({name: value}) for name, value in checkpoint.items()}


def model_digest(checkpoint: Mapping[str, Any]) -> str:
    """Return what tells the model of a checkpoint from any other; one without weights says it of those left out."""
    if "model_digest" in checkpoint:
        return str(checkpoint["model_digest"])
    return content_digest({name: checkpoint[name] for name in ("hyper_parameters", "state_dict")})


def exported(checkpoint: Mapping[str, Any], weights: str) -> dict[str, Any]:
    """Return a checkpoint that is smaller, from which no training can go on.

    Args:
        checkpoint: the whole one.
        weights: a name in `WEIGHTS`.
    """
    state = {name: WEIGHTS[weights](value) for name, value in checkpoint["state_dict"].items()}
    small = {name: checkpoint[name] for name in (*_PARTS, *_DATA) if name in checkpoint}
    small["state_dict"] = {name: value for name, value in state.items() if value is not None}
    if not small["state_dict"]:
        small["model_digest"] = model_digest(checkpoint)
    seal(small)
    return small


def load_weights(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load weights into a model.

    Raises:
        ValueError: if they do not fit it, or are not finite.
    """
    expected = {name: value.dtype for name, value in model.state_dict().items()}
    for name, value in state.items():
        if not value.isfinite().all():
            raise ValueError(f"{path} holds weights that are not finite: {name}")
        if name in expected and not _fits(value.dtype, expected[name]):
            raise ValueError(f"{path}: its weights {name} are {value.dtype}; expected {expected[name]}")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{path}: its weights do not fit its settings ({error})") from error


def _fits(given: torch.dtype, expected: torch.dtype) -> bool:
    """Tell whether weights of a type can stand for those of another, as float64 for float32."""
    return given == expected or (given.is_floating_point and expected.is_floating_point)
