"""What a checkpoint says of itself, and how a module comes back from one."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import pytorch_lightning as pl
from torch import nn

from nfvae.registry import class_paths, options_of
from nfvae.runs import Run
from nfvae.runs.checkpoint import load_weights, seal
from nfvae.training.optimizers import with_new_rate
from nfvae.training.teacher import Teacher

_KEPT = ("optimizer", "optimizer_options", "schedule", "milestones")  # whose state the checkpoint holds


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
        classes = [base for base in cls.__mro__ if issubclass(base, SavedModule)]
        return {name for base in classes for name in options_of(base)}

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls, checkpoint_path: Path | str, map_location: Any = None, trust: tuple[str, ...] = (), **changes: Any
    ) -> Self:
        """Load what was trained; nothing that the file holds is run.

        Args:
            checkpoint_path: a checkpoint, or the folder of a run, whose best one is meant.
            map_location: the device; by default the CPU.
            trust: "package.module:Class" of your own that the checkpoint may name; those in `changes` are trusted too.
            changes: hyperparameters that differ from the saved ones.

        Raises:
            FileNotFoundError: if there is no such run or checkpoint.
            ValueError: if the checkpoint is damaged, of another kind of model, or names a class that is not trusted.
        """
        run = Run(checkpoint_path, {*trust, *class_paths(changes)})
        return cls.from_run(run, **changes).to(map_location or "cpu")

    @classmethod
    def from_run(cls, run: Run, **changes: Any) -> Self:
        """Load what was trained: see `load_from_checkpoint`."""
        if run.kind != cls.kind:
            raise ValueError(f"{run.path} is not a checkpoint of {cls.__name__}")
        module = cls(**{name: value for name, value in run.settings.items() if name in cls.arguments()} | changes)
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

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say what was trained, by whom, what the plain model is, and what tells whether the file is damaged."""
        checkpoint |= {"task": self.task, "model": self.kind, "stopped": self.trainer.should_stop}
        if self.teacher:
            checkpoint["teacher"] = self.teacher.digest
        seal(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another architecture or optimizer; go on with the learning rate that is set now."""
        self.check_resumable(checkpoint)
        with_new_rate(checkpoint, self.hparams["lr"])

    def check_resumable(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse a checkpoint from which the training cannot go on under these settings, saying what differs.

        Raises:
            ValueError: for such a checkpoint.
        """
        if differences := self.differences(checkpoint["hyper_parameters"], (*self.architecture, *_KEPT)):
            raise ValueError(f"the checkpoint has {differences}")
        if self.teacher and checkpoint.get("teacher") != self.teacher.digest:
            raise ValueError(f"the teacher, {self.teacher.path}, is not the one that the training began with")

    def differences(self, saved: Mapping[str, Any], names: Collection[str]) -> str:
        """Say which hyperparameters of these names differ from the saved ones; nothing where none does."""
        return ", ".join(
            f"{name} {saved.get(name)!r} where the model has {self.hparams[name]!r}"
            for name in names
            if (saved.get(name) or None) != (self.hparams[name] or None)
        )
