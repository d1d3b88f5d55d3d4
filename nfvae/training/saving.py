"""How a module comes back from a checkpoint, and from which ones it may go on."""

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
_COMPILED = "_orig_mod."  # in the names of weights
_KEPT = ("optimizer", "optimizer_options", "schedule", "schedule_options", "milestones")  # with a saved state


class Saved(Protocol):
    """What is read here of a module that is built from its hyperparameters alone: see `TrainingModule`."""

    kind: ClassVar[str]
    architecture: ClassVar[tuple[str, ...]]

    @property
    def hparams(self) -> Any:
        """The hyperparameters."""


def arguments(kind: type[pl.LightningModule]) -> set[str]:
    """Return the names of the constructor's arguments, those that it passes on included."""
    ours = [base for base in kind.__mro__ if issubclass(base, pl.LightningModule)]
    return {name for base in ours[: ours.index(pl.LightningModule)] for name in options_of(base)}


def load(kind: type[_Module], run: Run, **changes: Any) -> _Module:
    """Build a module of a kind from a run's settings, some of them changed, and load its weights.

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
    """Load a module as `load` does, on the device that Lightning's `map_location` means.

    Raises:
        ValueError: as `load`, or for a device that is unknown or not there.
    """
    module = load(kind, run, **changes)
    try:
        loaded: _Module = module.to(_device(run.path, map_location))
        return loaded
    except (RuntimeError, AssertionError, TypeError) as error:  # a device unknown to torch or not there
        raise ValueError(f"cannot load to {map_location!r}: {next(iter(str(error).splitlines()), '')}") from error


def without_lightning_options(kind: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return changes of hyperparameters without the arguments of Lightning's own `load_from_checkpoint`.

    Raises:
        ValueError: for an argument of Lightning's that would load less, or run what a file holds.
    """
    for name in _LIGHTNING_OPTIONS:
        if changes.get(name) is not None and changes[name] is not True:
            raise ValueError(f"{kind}.load_from_checkpoint takes no other {name} than its default")
    return {name: value for name, value in changes.items() if name not in _LIGHTNING_OPTIONS}


def starting_weights(module: Saved, start: str) -> tuple[dict[str, Tensor], Path]:
    """Return the weights of the run that a training is to be started from, and where they come from.

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
    """Refuse a checkpoint from which a training cannot go on under these settings, saying what differs.

    Raises:
        ValueError: for such a checkpoint.
    """
    saved = with_later_settings(module.kind, checkpoint["hyper_parameters"])
    if differences := _differences(module, saved, (*module.architecture, *_KEPT)):
        raise ValueError(f"the checkpoint has {differences}")
    check_number("the checkpoint's lr", saved.get("lr", 0.0), above=0)
    if teacher and checkpoint.get("teacher") != teacher.digest:
        raise ValueError(f"the teacher, {teacher.path}, is not the one that the training began with")


def _differences(module: Saved, saved: Mapping[str, Any], names: Collection[str]) -> str:
    """Say which hyperparameters of these names differ from the saved ones; nothing where none does."""
    return ", ".join(
        f"{name} {saved.get(name)!r} where the model has {module.hparams[name]!r}"
        for name in names
        if _differ(saved.get(name), module.hparams[name])
    )


def check_loadable(module: pl.LightningModule) -> None:
    """Refuse to train what could not be loaded again, as its settings do not say which weights it has.

    Raises:
        ValueError: for weights other than those of a module built from the same settings.
    """
    given = {name: module.hparams[name] for name in arguments(type(module)) if name in module.hparams}
    try:
        with warnings.catch_warnings(action="ignore"), torch.device("meta"), torch.random.fork_rng(devices=[]):
            built = type(module)(**given).state_dict()
    except Exception:  # a subclass that nothing but its author can build
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
    """Tell whether two settings differ; nothing, no options and zero are one."""
    if isinstance(saved, torch.Tensor) or isinstance(own, torch.Tensor):
        return content_digest({"": saved}) != content_digest({"": own})
    return bool((plain(saved) or None) != (plain(own) or None))


def _device(path: Path, map_location: Any) -> Any:
    """Return the device that Lightning's `map_location` means for the weights of a checkpoint."""
    if not (callable(map_location) or isinstance(map_location, Mapping)):
        return map_location or "cpu"
    state = torch.load(path, map_location=map_location, weights_only=True)["state_dict"]
    return next(iter(state.values())).device
