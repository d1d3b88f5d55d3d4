"""The command line: training on LightningCLI, and the way to every other command."""

import argparse
import csv
import logging
import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger

from nfvae import __version__
from nfvae.callbacks import MetricProgressBar, Norms
from nfvae.commands import COMMANDS, Parser
from nfvae.runs import BEST, LAST, read_checkpoint
from nfvae.tasks import TASKS
from nfvae.tracking import finish, log_pictures, summarize_best, wandb_logger

DESCRIPTION = (
    "Train, measure and compare variational autoencoders whose posterior is a normalizing flow. "
    f"Further commands, on trained runs: {', '.join(COMMANDS)}."
)
MISTAKES = (ValueError, OSError, MisconfigurationException, argparse.ArgumentError)
TRACEBACK_VARIABLE = "NFVAE_TRACEBACK"


def run(arguments: list[str]) -> int:
    """Run one command; a mistake in what was asked gives one line and exit code 2, a diverged run exit code 1."""
    _quieten()
    try:
        if arguments and (command := COMMANDS.get(arguments[0])):
            command(arguments[1:])
        else:
            NfvaeCLI(with_run_config(arguments))
    except MISTAKES as error:
        return _fail(error, 2)
    except FloatingPointError as error:
        return _fail(error, 1)
    finally:
        finish()
    return 0


def _quieten() -> None:
    """Silence what Lightning says that no user of this command can act on."""
    tips = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    tips.addFilter(lambda record: "litlogger" not in record.getMessage() and "litmodels" not in record.getMessage())
    for message in (
        "Experiment logs directory",
        "isinstance.treespec, LeafSpec",
        "callbacks used to create the checkpoint",
        r"Found \d+ module.s. in eval mode",
        "The number of training batches",
        "You called .self.log",
    ):
        warnings.filterwarnings("ignore", message=f".*{message}")


def _fail(error: Exception, code: int) -> int:
    if os.environ.get(TRACEBACK_VARIABLE):
        raise error
    print(f"nfvae: error: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def with_run_config(arguments: list[str]) -> list[str]:
    """Put the saved config of the run that `--ckpt_path` points into before the other arguments."""
    parser = Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--ckpt_path", type=Path)
    checkpoint = parser.parse_known_args(arguments)[0].ckpt_path
    if checkpoint is None or not (config := checkpoint.parent.parent / "config.yaml").is_file():
        return arguments
    return [*arguments[:1], "-c", str(config), *arguments[1:]]


def task_of(arguments: list[str]) -> str:
    """Return what `--task`, or else the last config that says so, asks for.

    Raises:
        ValueError: for an unknown task.
    """
    parser = Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--task")
    parser.add_argument("-c", "--config", action="append", default=[])
    asked = parser.parse_known_args(arguments)[0]
    said = [_task_in(Path(config)) for config in asked.config] + [asked.task]
    task: str = next((name for name in reversed(said) if name is not None), "vae")
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}; known: {', '.join(TASKS)}")
    return task


def _task_in(config: Path) -> str | None:
    try:
        content = yaml.safe_load(config.read_text())
    except (OSError, yaml.YAMLError):  # which the command's own parser reports
        return None
    return content.get("task") if isinstance(content, dict) else None


class NfvaeCLI(LightningCLI):
    """LightningCLI for one of `TASKS`, with a folder for each run.

    `fit` writes RUNS/NAME/ with config.yaml, metrics.csv, checkpoints/best.ckpt (by what the task is judged by) and
    last.ckpt, and at the end the task's pictures; RUNS is `trainer.default_root_dir`.
    """

    def __init__(self, arguments: list[str]) -> None:
        self.task = task_of(arguments)
        model, data, *_ = TASKS[self.task]
        argv, sys.argv = sys.argv, [sys.argv[0], *arguments]  # LightningCLI reads no other list without a warning
        try:
            super().__init__(
                model,
                data,
                save_config_callback=None,
                trainer_defaults={"default_root_dir": "runs", "max_epochs": 100, "log_every_n_steps": 50},
                seed_everything_default=0,
                parser_kwargs={
                    "prog": "nfvae",
                    "description": DESCRIPTION,
                    "version": __version__,
                    "exit_on_error": False,
                }
                | {command: {"exit_on_error": False} for command in self.subcommands()},
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
            )
        finally:
            sys.argv = argv

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the task and the run's name, and give the model and the data what follows from other settings."""
        parser.add_argument("--task", type=str, default=self.task, help=f"What is trained: {', '.join(TASKS)}.")
        parser.add_argument("--name", type=str | None, help="The run's folder under trainer.default_root_dir.")
        parser.add_argument("--overwrite", type=bool, default=False, help="Replace a run of the same name.")
        parser.add_argument("--norms", type=bool, default=False, help="Log norms of gradients and parameters too.")
        if size_of := TASKS[self.task].size_of:
            parser.link_arguments("data.dataset", f"model.{TASKS[self.task].model.size}", compute_fn=size_of)
        parser.link_arguments("seed_everything", "data.seed", compute_fn=int)

    def _parse_ckpt_path(self) -> None:
        """Leave the model's hyperparameters as asked for: those of another architecture are refused on loading."""

    # a folder for the run

    @property
    def checkpoint(self) -> Path | None:
        """The checkpoint that was asked for."""
        path = self._get(self.config, "ckpt_path")
        return Path(path) if path else None

    @property
    def folder(self) -> Path:
        """RUNS/NAME."""
        name = self._get(self.config, "name")
        if name is None:
            model, data = self._get(self.config, "model"), self._get(self.config, "data")
            flow = model.flow.rpartition(":")[2].lower()
            taught = f"-{model.get('target', 'student')}" if model.get("teacher") else ""
            name = f"{data.dataset}-{flow}-{model.depth}{taught}-seed{self._get(self.config, 'seed_everything')}"
        return Path(self._get(self.config, "trainer").default_root_dir or "runs", name)

    @property
    def keeps_a_run(self) -> bool:
        """Whether this command writes a run's folder."""
        return self.subcommand == "fit" and not self._get(self.config, "trainer").fast_dev_run

    @property
    def resumes(self) -> bool:
        """Whether the run goes on in its own folder."""
        return self.checkpoint is not None and self.checkpoint.resolve().is_relative_to(self.folder.resolve())

    def before_instantiate_classes(self) -> None:
        """Check what can be checked before anything is built."""
        if self.checkpoint is not None:
            read_checkpoint(self.checkpoint)
        elif self.subcommand in ("validate", "test", "predict"):
            raise ValueError(f"nfvae {self.subcommand} needs a trained model: --ckpt_path RUN/checkpoints/best.ckpt")
        if self.keeps_a_run and not self.resumes and not self._get(self.config, "overwrite") and self._is_trained():
            raise ValueError(
                f"run {self.folder} exists; resume it with --ckpt_path {self.folder / LAST}, "
                "replace it with --overwrite true, or give another --name"
            )

    def _is_trained(self) -> bool:
        return any((self.folder / file).is_file() for file in (BEST, LAST))

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Build the trainer with the run's loggers, checkpoints and progress bar."""
        self.model.check_data(self.datamodule)
        trainer = self._get(self.config_init, "trainer")
        if trainer.logger in (None, True):
            kwargs["logger"] = self._loggers() if self.keeps_a_run else False
        own: list[pl.Callback] = []
        if trainer.enable_progress_bar is not False:
            own.append(MetricProgressBar())
        if self.keeps_a_run and trainer.enable_checkpointing is not False:
            own += self._checkpoints()
        if self._get(self.config, "norms"):
            own.append(Norms())
        self.trainer_defaults["callbacks"] = own
        built: pl.Trainer = super().instantiate_trainer(**kwargs)
        return built

    def _checkpoints(self) -> list[pl.Callback]:
        """Keep the best and the last; two callbacks, as one would renew the last only together with the best."""
        metric, mode = self.model.judged_by
        where: dict[str, Any] = {"dirpath": self.folder / BEST.parent, "enable_version_counter": False}
        return [
            ModelCheckpoint(
                filename=BEST.stem, monitor=f"val/{metric}", mode=mode, save_on_train_epoch_end=True, **where
            ),
            ModelCheckpoint(filename=LAST.stem, save_on_train_epoch_end=True, **where),
        ]

    def _loggers(self) -> list[Logger]:
        self.folder.mkdir(parents=True, exist_ok=True)
        loggers: list[Logger] = [CSVLogger(self.folder.parent, name=self.folder.name, version="")]
        wandb = wandb_logger(self.folder, self.task, self._run_config().as_dict())
        return [*loggers, wandb] if wandb else loggers

    # what happens around a command

    def before_fit(self) -> None:
        """Make the run's folder: a run to be replaced stands aside as NAME.old, one that resumes keeps its metrics."""
        if not (self.keeps_a_run and self.trainer.is_global_zero):
            return
        self.datamodule.prepare_data()  # what is wrong with data or checkpoint shows before an older run is touched
        checkpoint = read_checkpoint(self.checkpoint) if self.checkpoint else None
        if checkpoint:
            self.model.on_load_checkpoint(checkpoint)
        if not self.resumes and self._is_trained():
            shutil.rmtree(self._replaced, ignore_errors=True)
            self.folder.rename(self._replaced)
        self._write_config()
        metric, mode = self.model.judged_by
        for logger in self.trainer.loggers:
            if checkpoint and self.resumes and isinstance(logger, CSVLogger):
                _keep_metrics(logger, checkpoint["global_step"])
            if isinstance(logger, WandbLogger):
                summarize_best(logger, f"val/{metric}", mode)

    @property
    def _replaced(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.old")

    def _write_config(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "config.yaml"
        self._parser(self.subcommand).save(self._run_config(), str(path), overwrite=True, multifile=False)

    def _run_config(self) -> Any:
        """Return every setting of the run, without what belongs to this call alone."""
        config = self.config[self.subcommand].clone()
        config["name"], config["ckpt_path"], config["overwrite"] = self.folder.name, None, False
        return config

    def fit(self, **kwargs: Any) -> None:
        """Train; when interrupted from the keyboard, print the line that resumes."""
        try:
            self.trainer.fit(**kwargs)
        except SystemExit:  # what Lightning makes of a keyboard interrupt
            if self.keeps_a_run and (self.folder / LAST).is_file():
                print(f"interrupted; resume with: nfvae fit --ckpt_path {self.folder / LAST}")
            raise

    def after_fit(self) -> None:
        """Draw what the best checkpoint has learned, and say where everything is."""
        if self.keeps_a_run and self.trainer.is_global_zero and (self.folder / BEST).is_file():
            shutil.rmtree(self._replaced, ignore_errors=True)
            pictures = TASKS[self.task].draw(self.folder, self.datamodule)
            print(f"pictures: {', '.join(map(str, pictures))}")
            for logger in self.trainer.loggers:
                if isinstance(logger, WandbLogger):
                    log_pictures(logger, pictures)
            print(f"best checkpoint: {self.folder / BEST}")

    def predict(self, **kwargs: Any) -> None:
        """Write one posterior draw for each test image beside the checkpoint's folder."""
        draws = self.trainer.predict(**kwargs)
        assert draws is not None
        assert self.checkpoint is not None
        path = self.checkpoint.parent.parent / "latents.pt"
        torch.save(torch.cat(draws), path)  # type: ignore[arg-type]
        print(f"one posterior draw of each test image: {path}")


def _keep_metrics(logger: CSVLogger, steps: int) -> None:
    """Give the logger back the rows of the steps that are done, which it would otherwise delete."""
    path = Path(logger.log_dir, "metrics.csv")
    if path.is_file():
        with path.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if int(row["step"]) <= steps]
        logger.experiment.metrics.extend(rows)
        logger.save()
