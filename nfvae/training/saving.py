"""What a checkpoint says of itself, and how a module comes back from one."""

import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import pytorch_lightning as pl
import torch
from torch import nn
from typing_extensions import override

from nfvae.registry import check_choice, check_number, class_paths, options_of, plain
from nfvae.runs import Run
from nfvae.runs.checkpoint import check_alike, load_weights, seal, taken_from, with_later_settings
from nfvae.runs.digests import content_digest
from nfvae.training.callbacks import begin_patience_anew
from nfvae.training.optimizers import with_new_rate
from nfvae.training.teacher import Teacher

_COMPILED = "_orig_mod."  # in the names of weights
_KEPT = (
    "optimizer",
    "optimizer_options",
    "schedule",
    "schedule_options",
    "milestones",
)  # whose state the checkpoint holds


class SavedModule(pl.LightningModule):
    """A LightningModule that is built from its hyperparameters alone.

    Attributes:
        model: the plain model.
        kind: what that is, a name in `nfvae.runs.run.MODELS` and in `DATA`.
        task: the name in `nfvae.training.TASKS`.
        architecture: the hyperparameters that a checkpoint must share to be loaded.
        teacher: whom a student learns from, in a fit.
    """

    model: nn.Module
    kind: ClassVar[str]
    task: ClassVar[str]
    architecture: ClassVar[tuple[str, ...]]
    teacher: Teacher | None = None

    @classmethod
    def arguments(cls) -> set[str]:
        """Return the names of the constructor's arguments, those that it passes on included."""
        return {name for base in cls.__mro__ if issubclass(base, SavedModule) for name in options_of(base)}

    @override
    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls,
        checkpoint_path: Path | str,
        map_location: Any = None,
        hparams_file: None = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        trust: tuple[str, ...] = (),
        **changes: Any,
    ) -> Self:
        """Load what was trained; nothing that the file holds is run.

        Args:
            checkpoint_path: a checkpoint, or the folder of a run, whose best one is meant.
            map_location: the device, or whatever else `torch.load` takes; by default the CPU.
            hparams_file: Lightning's, which has to be None: the checkpoint holds its settings.
            strict: Lightning's; False is refused, as weights always have to fit.
            weights_only: Lightning's; False is refused, as it would run what the file holds.
            trust: "package.module:Class" of your own that the checkpoint may name; those in `changes` are trusted too.
            changes: hyperparameters other than the saved ones.

        Raises:
            FileNotFoundError: if there is no such run or checkpoint.
            ValueError: if the checkpoint is damaged, of another kind, or names a class not trusted; for a bad argument.
        """
        refused = {"strict": strict is False, "weights_only": weights_only is False, "hparams_file": hparams_file}
        for name in filter(refused.get, refused):
            raise ValueError(f"{cls.__name__}.load_from_checkpoint takes no other {name} than its default")
        run = Run(checkpoint_path, {*trust, *class_paths(changes)})
        module = cls.from_run(run, **changes)
        try:
            return module.to(_device(run.path, map_location))
        except (RuntimeError, AssertionError, TypeError) as error:  # a device unknown to torch or not there
            raise ValueError(f"cannot load to {map_location!r}: {next(iter(str(error).splitlines()), '')}") from error

    @classmethod
    def from_run(cls, run: Run, **changes: Any) -> Self:
        """Load what was trained: see `load_from_checkpoint`."""
        if run.kind != cls.kind:
            raise ValueError(f"{run.path} is not a checkpoint of {cls.__name__}")
        for name in changes:
            check_choice("hyperparameter", name, sorted(cls.arguments()))
        saved = {name: value for name, value in run.settings.items() if name in cls.arguments()}
        with taken_from(run.path, cls.__name__):
            module = cls(**saved | changes)
        load_weights(module, run.state(), run.path)
        return module

    def load_start(self) -> None:
        """Take over the weights of the run that is to be started from, where there is one.

        Raises:
            FileNotFoundError: if there is no such run.
            ValueError: if it is of another kind or architecture, was exported without weights, or is damaged.
        """
        if not (start := self.hparams["start"]):
            return
        run = Run(start)
        if run.kind != self.kind:
            raise ValueError(f"model.start: {run.path} holds a {run.kind}; this trains a {self.kind}")
        if differences := self.differences(run.settings, self.architecture):
            raise ValueError(f"model.start: {run.path} has {differences}")
        load_weights(self.model, run.weights(), run.path)

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint |= {"task": self.task, "model": self.kind, "stopped": self.trainer.should_stop}
        checkpoint |= {"teacher": self.teacher.digest} if self.teacher else {}
        seal(checkpoint)

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.check_resumable(checkpoint)
        check_alike("checkpoint", checkpoint, _own_parts(self.trainer))
        with_new_rate(checkpoint, self.hparams["lr"])
        begin_patience_anew(self.trainer, checkpoint)

    def check_resumable(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse a checkpoint from which the training cannot go on under these settings, saying what differs.

        Raises:
            ValueError: for such a checkpoint.
        """
        saved = with_later_settings(self.kind, checkpoint["hyper_parameters"])
        if differences := self.differences(saved, (*self.architecture, *_KEPT)):
            raise ValueError(f"the checkpoint has {differences}")
        check_number("the checkpoint's lr", saved.get("lr", 0.0), above=0)
        if self.teacher and checkpoint.get("teacher") != self.teacher.digest:
            raise ValueError(f"the teacher, {self.teacher.path}, is not the one that the training began with")

    def differences(self, saved: Mapping[str, Any], names: Collection[str]) -> str:
        """Say which hyperparameters of these names differ from the saved ones; nothing where none does."""
        return ", ".join(
            f"{name} {saved.get(name)!r} where the model has {self.hparams[name]!r}"
            for name in names
            if _differ(saved.get(name), self.hparams[name])
        )


def check_loadable(module: SavedModule) -> None:
    """Refuse to train what could not be loaded again, as its settings do not say which weights it has.

    Raises:
        ValueError: for weights other than those of a module built from the same settings.
    """
    given = {name: module.hparams[name] for name in module.arguments() if name in module.hparams}
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


def _own_parts(trainer: Any) -> dict[str, Any]:
    """Return what a checkpoint of the trainer holds of its loops; of callbacks only that each has a state by name."""
    return {
        "loops": {"fit_loop": trainer.fit_loop.state_dict()},
        "callbacks": {each.state_key: {} for each in trainer.callbacks},
    }


def _device(path: Path, map_location: Any) -> Any:
    """Return the device that Lightning's `map_location` means for the weights of a checkpoint."""
    if not (callable(map_location) or isinstance(map_location, Mapping)):
        return map_location or "cpu"
    state = torch.load(path, map_location=map_location, weights_only=True)["state_dict"]
    return next(iter(state.values())).device
