"""A training before it begins, with its settings checked."""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from nfvae.commands.memory import check_memory
from nfvae.commands.parsers import parse
from nfvae.commands.settings import read_sources, settings_of, task_of
from nfvae.commands.trainer import check_trainer
from nfvae.data import DataModule
from nfvae.registry import plain
from nfvae.runs import Run, RunFolder, run_name
from nfvae.runs.checkpoint import load_weights
from nfvae.training import TrainingModule
from nfvae.training.preparation import check_resumable, load_start, prepare_fit
from nfvae.training.saving import arguments

_LIMITS = ("max_epochs", "min_epochs", "max_steps", "min_steps", "max_time", "callbacks")  # limits of a training
_KEPT = ("dataset", "dataset_options", "binarization", "labels", "condition")


class Plan:
    """One training: its settings, its folder, its data and its module.

    Args:
        arguments: arguments of the command line.

    Attributes:
        settings: every setting of the training, nested as in its config.yaml.
        folder: folder of the run.

    Raises:
        FileNotFoundError: if a config or the checkpoint does not exist.
        ValueError: if a setting is unknown or of a wrong type.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        sources = read_sources(arguments)
        self.module_class = task_of(sources)
        self.parser, self.namespace = parse(sources, self.module_class)
        self.checkpoint = sources.run
        for name in ("config", "trust"):
            self.namespace.pop(name)
        self.settings: dict[str, Any] = self.namespace.as_dict()
        check_trainer(self.settings["trainer"])
        self.settings["name"] = run_name(self.settings)
        self.folder = RunFolder(Path(self.settings["trainer"]["default_root_dir"] or "runs", self.settings["name"]))

    @property
    def keeps_a_run(self) -> bool:
        """Whether the training writes a run's folder."""
        return not self.settings["trainer"]["fast_dev_run"]

    @property
    def resumes(self) -> bool:
        """Whether the training resumes in its own folder."""
        return self.checkpoint is not None and self.checkpoint.folder.path.resolve() == self.folder.path.resolve()

    @property
    def is_requeued(self) -> bool:
        """Whether SLURM restarted this command, so that the existing run is its own and is resumed."""
        return int(os.environ.get("SLURM_RESTART_COUNT") or 0) > 0 and not self.settings["overwrite"]

    @property
    def is_finished(self) -> bool:
        """Whether the run in the folder is finished: by its last epoch or step, or by a stop under these limits."""
        if not self.folder.last.is_file():
            return False
        checkpoint = Run(self.folder.last).checkpoint
        limits, saved = self.settings["trainer"], self.folder.settings().get("trainer") or {}
        done = {"max_epochs": checkpoint["epoch"] + 1, "max_steps": checkpoint["global_step"]}
        if any(0 < (limits[name] or -1) <= count for name, count in done.items()):
            return True
        return bool(checkpoint.get("stopped")) and all(limits[name] == saved.get(name) for name in _LIMITS)

    @cached_property
    def data(self) -> DataModule:
        """The training data."""
        return DataModule(**self.settings["data"], seed=self.settings["seed_everything"])

    @cached_property
    def module(self) -> TrainingModule:
        """The module to train, with its initial weights."""
        spec, own = self.data.spec, arguments(self.module_class) - self.module_class.from_teacher
        settings = self.settings["model"] | {name: plain(each) for name, each in spec._asdict().items() if name in own}
        samples = settings.get("samples", 1)
        check_memory(lambda: self.module_class(**settings), samples, self.settings["data"]["batch_size"], spec.size)
        return self.module_class(**settings)

    def check(self) -> None:
        """Check what can be checked before anything is written.

        Raises:
            ValueError: if the model or the data refuse a setting, or a resumed training changes one that it must keep.
        """
        self._check_others()
        prepare_fit(self.module, self.data)
        if self.checkpoint:
            self._check_going_on(self.checkpoint)
        else:
            load_start(self.module)

    def _check_others(self) -> None:
        """Refuse to replace a run that the training needs."""
        for name in ("teacher", "start"):
            other = self.settings["model"].get(name)
            if other and not self.resumes and Path(other).resolve().is_relative_to(self.folder.path.resolve()):
                taken = f"run {self.folder.path} would take the place of its own model.{name}"
                raise ValueError(f"{taken}: give it another --name")

    def _check_going_on(self, run: Run) -> None:
        """Refuse a checkpoint that the training cannot resume, or a change of settings that it must keep."""
        if "optimizer_states" not in run.checkpoint:
            raise ValueError(
                f"{run.path} was exported and cannot be resumed; --model.start begins a new training from its weights"
            )
        check_resumable(self.module, run.checkpoint)
        load_weights(self.module, run.checkpoint["state_dict"], run.path)
        saved = settings_of(run)
        kept = [
            ("seed_everything", saved["seed_everything"], self.settings["seed_everything"]),
            ("model.start", saved["model"].get("start"), self.settings["model"].get("start")),
        ]
        if self.resumes:  # its best checkpoint is chosen among validations on the same data
            kept += [(f"data.{name}", saved["data"].get(name), self.settings["data"].get(name)) for name in _KEPT]
            check_same_data(run, self.data)
        for name, value, given in kept:
            if value != given:
                raise ValueError(f"a resumed training keeps its {name}, {value}; got {given}")
        self.folder.check_files()

    def config(self) -> str:
        """Return every setting as YAML, without those of this call alone."""
        saved = self.namespace.clone()
        saved["name"], saved["ckpt_path"], saved["overwrite"] = self.settings["name"], None, False
        return str(self.parser.dump(saved, skip_unset=False))


def check_same_data(run: Run, data: Any) -> None:
    """Refuse data whose content differs from a run's training data, if the run has their digest.

    Raises:
        ValueError: if the content differs.
    """
    if run.data_digest and getattr(data, "digest", run.data_digest) != run.data_digest:
        raise ValueError(
            f"run {run.folder.path} was trained on other data than those under {data.root}: "
            "--model.start begins a new training with its weights, under another --name"
        )
