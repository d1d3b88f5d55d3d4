"""`nfvae fit`: train, and prepare and finish the run's folder."""

import math
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from traceback import walk_tb
from typing import Any, cast

import pytorch_lightning as pl
from jsonargparse import ArgumentParser
from pytorch_lightning.loggers import WandbLogger
from typing_extensions import override

from nfvae.commands.arguments import as_list, refused
from nfvae.commands.parsers import training_parser
from nfvae.commands.pictures import draw
from nfvae.commands.pictures.densities import density_summary
from nfvae.commands.plan import Plan
from nfvae.commands.progress import MetricProgressBar, ModelTable, print_epoch
from nfvae.commands.settings import named_classes
from nfvae.commands.signals import ended_by_signals
from nfvae.runs import Run, RunFolder
from nfvae.runs.checkpoint import read_checkpoint
from nfvae.runs.files import remove_partial, write_figure, write_whole
from nfvae.runs.locks import locked
from nfvae.runs.metrics import MetricFile, read_rows
from nfvae.runs.tracking import finish, log_artifact, log_run, summarize_best, wandb_logger
from nfvae.runs.trust import mark_trained
from nfvae.training import FlowVAE, TrainingModule
from nfvae.training.callbacks import Norms
from nfvae.training.checkpoints import MovableCheckpoint, WholeCheckpointIO, is_of_restoring

_PICTURED_IMAGES = 32


def fit_command(arguments: list[str]) -> None:
    """Train a model, or resume an interrupted training."""
    plan = Plan(arguments)
    if plan.is_requeued and plan.folder.is_trained:
        plan = Plan([*arguments, "--ckpt_path", str(plan.folder.path)])
    fit(plan)


def fit_parser() -> ArgumentParser:
    """Return the parser of the command, for a VAE."""
    return training_parser(FlowVAE)


def fit(plan: Plan, callbacks: Sequence[pl.Callback] = ()) -> None:
    """Train a model from beginning to end.

    Writes RUNS/NAME/ with config.yaml, metrics.csv, steps.csv, checkpoints/best.ckpt (by the monitored metric) and
    last.ckpt, and at the end the task's pictures; RUNS is `trainer.default_root_dir`.

    Args:
        plan: the training.
        callbacks: additional callbacks.

    Raises:
        ValueError: for settings that the model, the data or the trainer refuses, or a run that exists already or is
            being trained.
        FloatingPointError: if the loss is not finite.
    """
    pl.seed_everything(plan.settings["seed_everything"], workers=True, verbose=False)
    plan.check()
    trainer = _trainer(plan, callbacks)
    if plan.keeps_a_run and trainer.is_global_zero:
        with locked(plan.folder.path, "trained"):
            _train_in_folder(plan, trainer)
    else:
        _train(plan, trainer)


def _train_in_folder(plan: Plan, trainer: pl.Trainer) -> None:
    """Train, and prepare and finish the run's folder."""
    _check_new(plan)
    replaced = _set_aside(plan)
    is_new = _prepare_folder(plan)
    try:
        _train(plan, trainer)
        if not (trainer.global_step or plan.folder.metrics.is_file()):  # written by spawned processes
            raise ValueError("nothing was trained: trainer.max_time, max_steps or a callback ended it before a step")
    except BaseException as error:
        if is_new and not plan.folder.is_trained:
            _take_back(plan.folder, replaced, isinstance(error, FloatingPointError))
        raise
    if plan.folder.is_trained:
        _finish(plan, trainer)


def _train(plan: Plan, trainer: pl.Trainer) -> None:
    if plan.resumes and plan.is_finished:
        if trainer.is_global_zero:
            print(f"run {plan.folder.path} has ended; raise --trainer.max_epochs, or another limit, to continue")
        return
    path = plan.checkpoint.path if plan.checkpoint else None
    try:
        with ended_by_signals(lambda: _how_to_resume(plan)):
            trainer.fit(plan.module, plan.data, ckpt_path=path, weights_only=True)
    except RuntimeError as error:
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise ValueError(
                f"model.compile fails here, without it the training runs: {str(error).splitlines()[0]}"
            ) from error
        if "conditioned on metric" not in str(error):
            raise
        raise ValueError(f"trainer.callbacks: {error}") from error  # the monitored metric does not exist
    except (AttributeError, LookupError, TypeError) as error:
        if is_of_restoring(error):
            raise ValueError(f"{path} is damaged: its training cannot be restored ({error!r:.60})") from error
        if not (callback := _callback_that_failed(error, trainer)):
            raise
        raise ValueError(f"trainer.callbacks: {callback} does not fit this training: {error}") from error


def _callback_that_failed(error: Exception, trainer: pl.Trainer) -> str:
    """Return the class name of the user's callback that raised an error; empty for an error elsewhere."""
    called = [id(frame.f_locals.get("self")) for frame, _ in walk_tb(error.__traceback__)]
    names = [type(each) for each in cast(Any, trainer).callbacks if id(each) in called]
    return next((name.__name__ for name in names if not name.__module__.startswith("nfvae.")), "")


def _how_to_resume(plan: Plan) -> str:
    if not plan.keeps_a_run:
        return ""
    resume = f"resume with: nfvae fit --ckpt_path {plan.folder.path}"
    return resume if plan.folder.is_trained else "there is no checkpoint yet"


def _check_new(plan: Plan) -> None:
    """Refuse to train in the folder of another run."""
    folder = plan.folder
    if plan.resumes or not folder.is_trained:
        return
    if not plan.settings["overwrite"]:
        raise ValueError(
            f"run {folder.path} exists; resume it with --ckpt_path {folder.path}, "
            "replace it with --overwrite true, or give another --name"
        )
    if inner := folder.inner:
        raise ValueError(f"run {folder.path} contains another run, {inner[0]}: move it before you replace this one")


def _trainer(plan: Plan, callbacks: Sequence[pl.Callback]) -> pl.Trainer:
    """Build the trainer with the run's loggers, checkpoints and progress bar."""
    options = _trainer_options(plan)
    own: list[pl.Callback] = []
    if options["enable_progress_bar"] is not False and sys.stdout.isatty():
        own.append(MetricProgressBar())
    elif plan.keeps_a_run:
        say = partial(print_epoch, epochs=options["max_epochs"], monitor=plan.module.monitor)
        plan.module.recorder.epoch_sinks.append(say)
    options["enable_progress_bar"] = options["enable_progress_bar"] is not False and sys.stdout.isatty()
    if options["enable_model_summary"] is not False:
        own.append(ModelTable())
    options["enable_model_summary"] = False
    if plan.keeps_a_run and options["enable_checkpointing"] is not False:
        own += _checkpoints(plan)
    if plan.keeps_a_run:
        own.append(_FirstStep(plan))
    if plan.settings["norms"]:
        own.append(Norms())
    if options["logger"] in (None, True):
        options["logger"] = (plan.keeps_a_run and wandb_logger(plan.folder, plan.settings)) or False
    options["callbacks"] = [*as_list(options["callbacks"]), *own, *callbacks]
    options["plugins"] = [*as_list(options["plugins"]), WholeCheckpointIO()]
    options["default_root_dir"] = plan.folder.path  # for files of Lightning and its callbacks
    with refused("trainer"):
        return pl.Trainer(**options)


def _trainer_options(plan: Plan) -> dict[str, Any]:
    """Return the trainer's settings, with callbacks and other named classes as objects."""
    with refused("trainer"):
        return dict(plan.parser.instantiate(plan.namespace).trainer.as_dict())


def _checkpoints(plan: Plan) -> list[pl.Callback]:
    """Return callbacks for the best and the last checkpoint; one alone would save the last only with the best."""
    best, last = plan.folder.best, plan.folder.last
    where: dict[str, Any] = {"dirpath": best.parent, "enable_version_counter": False, "save_on_train_epoch_end": True}
    monitored: dict[str, Any] = {"monitor": plan.module.monitor, "mode": plan.module.mode}
    return [
        MovableCheckpoint(filename=best.stem, **monitored, **where),
        MovableCheckpoint(filename=last.stem, **where),
    ]


class _FirstStep(pl.Callback):
    """Write the run's config when its training begins and can no longer be refused."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    @override
    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse a checkpoint that Lightning finds by itself, such as one of a SLURM job.

        Raises:
            ValueError: for such a checkpoint.
        """
        if not self.plan.checkpoint:
            path = trainer.ckpt_path
            raise ValueError(f"{path} would be resumed without a request: move it, or give another --name")

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write config.yaml, and choose the metric of wandb's summary.

        Raises:
            ValueError: if no validation comes at an epoch's end, where checkpoints are saved.
        """
        batches, between = trainer.num_training_batches, trainer.val_check_batch
        if trainer.enable_validation and between != math.inf and (not between or batches % between):
            raise ValueError(
                f"trainer.val_check_interval: an epoch of {batches} batches must end with a validation, since "
                f"best.ckpt is saved there; got one every {between} batches"
            )
        if not trainer.is_global_zero:
            return
        write_whole(self.plan.folder.config, self.plan.config())
        mark_trained(self.plan.folder, named_classes(self.plan.settings | {"trained": dict(pl_module.hparams)}))
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                summarize_best(logger, self.plan.module.monitor, self.plan.module.mode)


def _set_aside(plan: Plan) -> Path | None:
    """Move a run that will be replaced out of the way, beside any earlier one; return where it lies now."""
    plan.data.prepare_data()  # bad data must raise before an older run is moved
    if plan.resumes or not plan.folder.is_trained:
        return None
    aside = plan.folder.next_replaced()
    return plan.folder.path.rename(aside)


def _prepare_folder(plan: Plan) -> bool:
    """Prepare the folder and its files for this training; return whether the folder is new."""
    folder = plan.folder
    if plan.resumes:
        folder.history()
        read_rows(folder.steps, by_line=True)
    elif plan.is_requeued:  # requeued before its first complete epoch
        for path in folder.path.glob("hpc_ckpt_*.ckpt"):
            path.unlink()
    is_new = not folder.path.exists()
    folder.path.mkdir(parents=True, exist_ok=True)
    pictures = map(folder.picture, plan.module.pictures)
    remove_partial(folder.best, folder.last, folder.config, folder.metrics, folder.steps, *pictures)
    steps = read_checkpoint(plan.checkpoint.path)["global_step"] if plan.checkpoint and plan.resumes else 0
    plan.module.recorder.epoch_sinks.append(MetricFile(folder.metrics, steps).append)
    plan.module.recorder.step_sinks.append(MetricFile(folder.steps, steps, by_line=True).append)
    return is_new


def _take_back(folder: RunFolder, replaced: Path | None, diverged: bool) -> None:
    """Delete the folder of a failed training and restore the run that it replaces; keep both if it diverged."""
    if diverged:
        if replaced:
            print(f"the run to be replaced was moved to {replaced}")
        return
    finish(says=False)
    shutil.rmtree(folder.path, ignore_errors=True)
    if replaced:
        replaced.rename(folder.path)


def _finish(plan: Plan, trainer: pl.Trainer) -> None:
    """Draw the pictures of the best checkpoint, log them, and print where everything is."""
    folder = plan.folder
    for earlier in folder.all_replaced():
        if plan.settings["overwrite"]:
            shutil.rmtree(earlier, ignore_errors=True)
        else:
            print(f"kept: {earlier}, a run that an earlier --overwrite moved")
    run, teacher = Run(folder.path, last=not folder.best.is_file()), plan.settings["model"].get("teacher")
    pictures = _draw(plan, run)
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            log_run(logger, pictures, folder.config)
            if plan.settings["artifacts"]:
                log_artifact(logger, folder)
    finish()
    if run.kind == "density" and run.task != "energy":
        print(density_summary(run, teacher))
    if plan.module.is_warming_up and trainer.global_step:
        print("warning: the training ended within the warm-up of the KL: train longer, or set a lower warmup_epochs")
    for stopped in (each for each in trainer.early_stopping_callbacks if each.stopped_epoch):
        print(f"stopped early: {stopped.monitor} did not improve in the last {stopped.wait_count} validations")
    if pictures:
        print(f"pictures: {', '.join(map(str, pictures))}")
    print(f"{_best_epoch(folder, plan.module)}checkpoint: {run.path}")


def _draw(plan: Plan, run: Run) -> list[Path]:
    """Draw the pictures of a run that its data allow, and return their paths."""
    root, teacher = plan.settings["data"].get("root"), plan.settings["model"].get("teacher")  # both may have moved
    pictures = []
    for name in plan.module.pictures:
        try:
            figure = draw(name, [run], _PICTURED_IMAGES, root=root, teacher=teacher)
        except ValueError as error:  # such as images of two channels
            print(f"no picture of {name}: {error}")
            continue
        pictures.append(plan.folder.picture(name))
        write_figure(pictures[-1], figure)
    return pictures


def _best_epoch(folder: RunFolder, module: TrainingModule) -> str:
    """Describe the epoch in which the monitored metric was best."""
    choose = {"max": max, "min": min}[module.mode]
    rows = folder.history()
    if not (validated := [row for row in rows if module.monitor in row]):
        return "no epoch ended with a validation; "
    best = choose(validated, key=lambda row: row[module.monitor])
    when = f"epoch {best['epoch'] + 1} of {rows[-1]['epoch'] + 1}"
    return f"best {module.monitor} {best[module.monitor]:.2f} nats in {when}; "
