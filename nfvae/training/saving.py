"""Load modules from checkpoints, and check whether training can resume from them."""

import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import pytorch_lightning as pl
import torch
from torch import Tensor

from nfvae.registry import check_choice, check_number, options_of, plain
from nfvae.runs import Run
from nfvae.runs.checkpoint import load_weights, taken_from, with_later_settings
from nfvae.runs.digests import content_digest
from nfvae.training.teacher import Teacher

_Module = TypeVar("_Module", bound=Any)
_LIGHTNING_OPTIONS = ("strict", "weights_only", "hparams_file")
_COMPILED = "_orig_mod."  # prefix in the names of compiled weights
_KEPT = ("optimizer", "optimizer_options", "schedule", "schedule_options", "milestones")  # fixed by a saved state


class Saved(Protocol):
    """The attributes used here of a module that is built from its hyperparameters alone: see `TrainingModule`."""

    kind: ClassVar[str]
    architecture: ClassVar[tuple[str, ...]]

    @property
    def hparams(self) -> Any:
        """The hyperparameters."""


def arguments(kind: type[pl.LightningModule]) -> set[str]:
    """Return the names of the constructor's arguments, including those it passes to its base classes."""
    ours = [base for base in kind.__mro__ if issubclass(base, pl.LightningModule)]
    return {name for base in ours[: ours.index(pl.LightningModule)] for name in options_of(base)}


def load(kind: type[_Module], run: Run, **changes: Any) -> _Module:
    """Build a module from a run's settings, with some changes, and load the run's weights.

    Raises:
        ValueError: for a run of another kind, or an unknown hyperparameter.
    """
    if run.kind != kind.kind:
        raise ValueError(f"{run.path} is not a checkpoint of {kind.__name__}")
    known = arguments(kind)
    for name in changes:
        check_choice("hyperparameter", name, sorted(known))
    saved = {name: value for name, value in run.settings.items() if name in known}
    with taken_from(run.path, kind.__name__):
        module: _Module = kind(**saved | changes)
    load_weights(module, run.state(), run.path)
    return module


def load_on(kind: type[_Module], run: Run, map_location: Any, **changes: Any) -> _Module:
    """Load a module as `load` does, on the device given by Lightning's `map_location`.

    Raises:
        ValueError: as `load`, or for a device that is unknown or unavailable.
    """
    module = load(kind, run, **changes)
    try:
        loaded: _Module = module.to(_device(run.path, map_location))
        return loaded
    except (RuntimeError, AssertionError, TypeError) as error:  # a device unknown to torch, or unavailable
        raise ValueError(f"cannot load to {map_location!r}: {next(iter(str(error).splitlines()), '')}") from error


def without_lightning_options(kind: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return changed hyperparameters without the arguments of Lightning's own `load_from_checkpoint`.

    Raises:
        ValueError: for a Lightning argument that would load less, or run code in a file.
    """
    for name in _LIGHTNING_OPTIONS:
        if changes.get(name) is not None and changes[name] is not True:
            raise ValueError(f"{kind}.load_from_checkpoint takes no other {name} than its default")
    return {name: value for name, value in changes.items() if name not in _LIGHTNING_OPTIONS}


def starting_weights(module: Saved, start: str) -> tuple[dict[str, Tensor], Path]:
    """Return the initial weights of a training from the run `start`, and the path of that run.

    Raises:
        FileNotFoundError: if there is no such run.
        ValueError: if it is of another kind or architecture, was exported without weights, or is damaged.
    """
    run = Run(start)
    if run.kind != module.kind:
        raise ValueError(f"model.start: {run.path} holds a {run.kind}; this trains a {module.kind}")
    if differences := _differences(module, run.settings, module.architecture):
        raise ValueError(f"model.start: {run.path} has {differences}")
    return run.weights(), run.path


def check_same_training(module: Saved, checkpoint: Mapping[str, Any], teacher: Teacher | None) -> None:
    """Refuse a checkpoint from which training cannot resume under these settings.

    Raises:
        ValueError: if training cannot resume; the message lists the differences.
    """
    saved = with_later_settings(module.kind, checkpoint["hyper_parameters"])
    if differences := _differences(module, saved, (*module.architecture, *_KEPT)):
        raise ValueError(f"the checkpoint has {differences}")
    check_number("the checkpoint's lr", saved.get("lr", 0.0), above=0)
    if teacher and checkpoint.get("teacher") != teacher.digest:
        raise ValueError(f"the teacher, {teacher.path}, is not the one that the training began with")


def _differences(module: Saved, saved: Mapping[str, Any], names: Collection[str]) -> str:
    """List the named hyperparameters that differ from the saved ones; empty if none does."""
    return ", ".join(
        f"{name} {saved.get(name)!r} where the model has {module.hparams[name]!r}"
        for name in names
        if _differ(saved.get(name), module.hparams[name])
    )


def check_loadable(module: pl.LightningModule) -> None:
    """Refuse to train a module that could not be loaded again, because its settings do not determine its weights.

    Raises:
        ValueError: for weights that differ in name or shape from those of a module built from the same settings.
    """
    given = {name: module.hparams[name] for name in arguments(type(module)) if name in module.hparams}
    try:
        with warnings.catch_warnings(action="ignore"), torch.device("meta"), torch.random.fork_rng(devices=[]):
            built = type(module)(**given).state_dict()
    except Exception:  # a subclass that only its author can build
        return
    own = module.state_dict()
    if any(_COMPILED in name for name in own):
        raise ValueError("the model was compiled by torch.compile: train it as it was built, with compile=True")
    wrong = sorted(own.keys() ^ built.keys()) or [name for name in own if own[name].shape != built[name].shape]
    if wrong:
        raise ValueError(
            f"no checkpoint of this model could be loaded, as its settings do not explain the weights {wrong[0]}: "
            "change a model in the constructor of a subclass, not after it was built"
        )


def _differ(saved: Any, own: Any) -> bool:
    """Return whether two settings differ; None, no options and zero count as equal."""
    if isinstance(saved, torch.Tensor) or isinstance(own, torch.Tensor):
        return content_digest({"": saved}) != content_digest({"": own})
    return bool((plain(saved) or None) != (plain(own) or None))


def _device(path: Path, map_location: Any) -> Any:
    """Return the device of a checkpoint's weights under Lightning's `map_location`."""
    if not (callable(map_location) or isinstance(map_location, Mapping)):
        return map_location or "cpu"
    state = torch.load(path, map_location=map_location, weights_only=True)["state_dict"]
    return next(iter(state.values())).device
