"""`nfvae fit`: train, and what happens around it."""

import csv
import shutil
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger

from nfvae.commands.arguments import as_list
from nfvae.commands.pictures import density_summary, draw
from nfvae.commands.plan import Plan
from nfvae.commands.progress import MetricProgressBar
from nfvae.commands.signals import INTERRUPTED, TERMINATED
from nfvae.runs import Run, RunFolder
from nfvae.runs.files import write_whole
from nfvae.runs.tracking import log_pictures, summarize_best, wandb_logger
from nfvae.training.callbacks import Norms
from nfvae.training.checkpoints import MovableCheckpoint, WholeCheckpointIO

_PICTURED_IMAGES = 32


def fit_command(arguments: list[str]) -> None:
    """Train, or go on with a training that was interrupted."""
    fit(Plan(arguments))


def fit(plan: Plan, callbacks: Sequence[pl.Callback] = ()) -> None:
    """Train from beginning to end.

    Writes RUNS/NAME/ with config.yaml, metrics.csv, checkpoints/best.ckpt (by the monitored metric) and last.ckpt, and
    at the end the task's pictures; RUNS is `trainer.default_root_dir`.

    Args:
        plan: what is asked for.
        callbacks: further ones.

    Raises:
        ValueError: for settings that the model, the data or the trainer refuses, or a run that exists already.
        FloatingPointError: if the loss is not finite.
    """
    folder = plan.folder
    if plan.keeps_a_run and not plan.resumes and not plan.settings["overwrite"] and folder.is_trained:
        raise ValueError(
            f"run {folder.path} exists; resume it with --ckpt_path {folder.last}, "
            "replace it with --overwrite true, or give another --name"
        )
    pl.seed_everything(plan.settings["seed_everything"], workers=True)
    data, module = plan.data, plan.module
    module.prepare_fit(data)
    trainer = _trainer(plan, callbacks)
    if plan.keeps_a_run and trainer.is_global_zero:
        _prepare_folder(plan, trainer)
    try:
        trainer.fit(module, data, ckpt_path=plan.checkpoint.path if plan.checkpoint else None, weights_only=True)
    except SystemExit:  # what Lightning makes of a signal
        if plan.keeps_a_run and folder.last.is_file():
            print(f"interrupted; resume with: nfvae fit --ckpt_path {folder.last}")
        raise SystemExit(TERMINATED if trainer.received_sigterm else INTERRUPTED) from None
    if plan.keeps_a_run and trainer.is_global_zero and folder.best.is_file():
        _finish(plan, trainer)


def _trainer(plan: Plan, callbacks: Sequence[pl.Callback]) -> pl.Trainer:
    """Build the trainer with the run's loggers, checkpoints and progress bar."""
    options = plan.parser.instantiate(plan.namespace).trainer.as_dict()
    own: list[pl.Callback] = []
    if options["enable_progress_bar"] is not False:
        own.append(MetricProgressBar())
    if plan.keeps_a_run and options["enable_checkpointing"] is not False:
        own += _checkpoints(plan)
    if plan.settings["norms"]:
        own.append(Norms())
    if options["logger"] in (None, True):
        options["logger"] = _loggers(plan) if plan.keeps_a_run else False
    options["callbacks"] = [*as_list(options["callbacks"]), *own, *callbacks]
    options["plugins"] = [*as_list(options["plugins"]), WholeCheckpointIO()]
    return pl.Trainer(**options)


def _checkpoints(plan: Plan) -> list[pl.Callback]:
    """Keep the best and the last; two callbacks, as one would renew the last only together with the best."""
    best, last = plan.folder.best, plan.folder.last
    where: dict[str, Any] = {"dirpath": best.parent, "enable_version_counter": False, "save_on_train_epoch_end": True}
    monitored: dict[str, Any] = {"monitor": plan.module.monitor, "mode": plan.module.mode}
    return [
        MovableCheckpoint(filename=best.stem, **monitored, **where),
        MovableCheckpoint(filename=last.stem, **where),
    ]


def _loggers(plan: Plan) -> list[Logger]:
    path = plan.folder.path
    path.mkdir(parents=True, exist_ok=True)
    loggers: list[Logger] = [CSVLogger(path.parent, name=path.name, version="")]
    wandb = wandb_logger(plan.folder, plan.settings)
    return [*loggers, wandb] if wandb else loggers


def _prepare_folder(plan: Plan, trainer: pl.Trainer) -> None:
    """Make the folder: a run to be replaced stands aside, one that resumes keeps its metrics."""
    folder, checkpoint = plan.folder, plan.checkpoint
    plan.data.prepare_data()  # what is wrong with data or checkpoint shows before an older run is touched
    if checkpoint:
        plan.module.on_load_checkpoint(checkpoint.checkpoint)
    if not plan.resumes and folder.is_trained:
        shutil.rmtree(folder.replaced, ignore_errors=True)
        folder.path.rename(folder.replaced)
    folder.path.mkdir(parents=True, exist_ok=True)
    write_whole(folder.config, plan.config())
    for logger in trainer.loggers:
        if checkpoint and plan.resumes and isinstance(logger, CSVLogger):
            _keep_metrics(logger, folder, checkpoint.checkpoint["global_step"])
        if isinstance(logger, WandbLogger):
            summarize_best(logger, plan.module.monitor, plan.module.mode)


def _finish(plan: Plan, trainer: pl.Trainer) -> None:
    """Draw what the best checkpoint has learned, and say where everything is."""
    shutil.rmtree(plan.folder.replaced, ignore_errors=True)
    run = Run(plan.folder.path)
    if run.kind == "density":
        print(density_summary(run))
    pictures = []
    for name in plan.module.pictures:
        pictures.append(plan.folder.picture(name))
        draw(name, [run], _PICTURED_IMAGES).savefig(pictures[-1])
    print(f"pictures: {', '.join(map(str, pictures))}")
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            log_pictures(logger, pictures)
    print(f"best checkpoint: {plan.folder.best}")


def _keep_metrics(logger: CSVLogger, folder: RunFolder, steps: int) -> None:
    """Give the logger back the rows of the steps that are done, which it would otherwise delete."""
    if folder.metrics.is_file():
        with folder.metrics.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if int(row["step"]) <= steps]
        logger.experiment.metrics.extend(rows)
        logger.save()
