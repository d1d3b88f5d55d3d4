"""`nfvae validate`, `nfvae test` and `nfvae predict`: Lightning's other loops, on a trained run."""

import json
import os
import sys
from argparse import ArgumentError
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from jsonargparse import ArgumentParser
from pytorch_lightning.callbacks import BasePredictionWriter
from pytorch_lightning.utilities import rank_zero_only
from typing_extensions import override

from nfvae.commands.arguments import TRUST_HELP, Parser, as_list, refused
from nfvae.commands.messages import in_plain_words
from nfvae.commands.progress import MetricProgressBar
from nfvae.commands.signals import EndWhenTerminated, ended_by_signals
from nfvae.commands.trainer import check_processes
from nfvae.data import DataModule
from nfvae.registry import options_of
from nfvae.runs import Run, Table
from nfvae.runs.evaluation import other_data
from nfvae.runs.files import write_tensors, write_whole
from nfvae.runs.tables import Column
from nfvae.runs.tracking import log_results
from nfvae.training import TASKS, FlowVAE, TrainingModule
from nfvae.training.preparation import check_spec
from nfvae.training.saving import arguments, load

_MODEL = {"validate": {"val_samples"}, "test": {"test_samples"}, "predict": set[str]()}
_TRAINER = {"accelerator", "devices", "num_nodes", "strategy", "precision", "callbacks", "enable_progress_bar"}
_LIMITS = {"validate": "limit_val_batches", "test": "limit_test_batches", "predict": "limit_predict_batches"}
_DATA = {"dataset", "binarization", "root", "download", "eval_batch_size"}


def validate_command(arguments: list[str]) -> None:
    """Compute the metrics of a trained model on the validation set."""
    _report("validate", "val", arguments, validate_command.__doc__)


def test_command(arguments: list[str]) -> None:
    """Compute the metrics of a trained model on the test set."""
    _report("test", "test", arguments, test_command.__doc__)


def predict_command(arguments: list[str]) -> None:
    """Write one posterior sample of each test image, or samples of a density, into the folder of the run."""
    run, _, other = _loop("predict", arguments, predict_command.__doc__)
    what = "one posterior sample of each test image" if run.kind == "vae" else "as many samples as test vectors"
    _say(f"{what}: {_named(run.folder.latents, other)}")


_say = rank_zero_only(print)


class _Latents(BasePredictionWriter):
    """Write the predictions of all processes to one file, in the order of the data.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__("epoch")
        self.path = path

    @override
    def write_on_epoch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, predictions: Sequence[Any], batch_indices: Any
    ) -> None:
        own = torch.cat([*predictions]).cpu()
        parts: list[Any] = [own]
        if trainer.world_size > 1:
            parts = [None] * trainer.world_size
            torch.distributed.all_gather_object(parts, own)
        rows = own.new_empty(sum(map(len, parts)), *own.shape[1:])
        for rank, part in enumerate(parts):  # as `nfvae.data.batches.BatchIndices` distributes rows
            rows[rank :: len(parts)] = part
        if trainer.is_global_zero:
            write_tensors(self.path, rows)


def validate_parser() -> ArgumentParser:
    """Return the parser of the command, for a VAE."""
    return _parser("validate", FlowVAE, validate_command.__doc__)


def test_parser() -> ArgumentParser:
    """Return the parser of the command, for a VAE."""
    return _parser("test", FlowVAE, test_command.__doc__)


def predict_parser() -> ArgumentParser:
    """Return the parser of the command, for a VAE."""
    return _parser("predict", FlowVAE, predict_command.__doc__)


def _report(command: str, split: str, arguments: Sequence[str], description: str | None) -> None:
    """Run a loop, and write its metrics to the terminal, the run's folder and wandb."""
    run, [results], other = _loop(command, arguments, description)
    _write_report(run, command, split, results, other)


@rank_zero_only
def _write_report(run: Run, command: str, split: str, results: dict[str, float], other: str) -> None:
    rows = [{"metric": name, "value": value} for name, value in results.items()]
    print(Table(rows, [Column("metric", f"{run.folder.path}{other}, {split} set"), Column("value", "nats", 3)]).text())
    path = _named(run.folder.report(command), other)
    write_whole(path, json.dumps({"model_sha256": run.digest(), **results}, indent=2) + "\n")
    samples = run.settings.get(f"{split}_samples", 0)
    log_results(run.folder, f"{split}/loop-{samples}", {key.partition("/")[2]: value for key, value in results.items()})
    print(f"written: {path}")


def _named(path: Path, other: str) -> Path:
    """Return a path with a suffix in its name for data other than the training's."""
    return path.with_stem(path.stem + other)


def _loop(command: str, arguments: Sequence[str], description: str | None) -> tuple[Run, Any, str]:
    """Run a Lightning loop; return the run, the loop's result, and a suffix for data other than the training's."""
    path, words = _run_and_words(command, arguments, description)
    run = Run(path)
    task = TASKS.load(run.task)
    given = _settings(_parser(command, task, description), words)
    data, module = run.data(**given.get("data", {})), load(task, run, **given.get("model", {}))
    check_spec(module, data)
    other = other_data(run, data) if isinstance(data, DataModule) else ""
    pl.seed_everything(0, verbose=False)  # the same samples in every call
    trainer_options = given.get("trainer", {})
    if command == "predict":
        if trainer_options.get("limit_predict_batches") == 0:
            raise ValueError("no batch to predict: trainer.limit_predict_batches must be above 0")
        writer = _Latents(_named(run.folder.latents, other))
        trainer_options["callbacks"] = [*as_list(trainer_options.get("callbacks")), writer]
    trainer = _trainer(trainer_options)
    quietly = {"return_predictions": False} if command == "predict" else {"verbose": False}
    with ended_by_signals():
        return run, getattr(trainer, command)(module, data, **quietly), other


def _run_and_words(command: str, arguments: Sequence[str], description: str | None) -> tuple[str, list[str]]:
    """Return the run named in the arguments, and the other arguments."""
    first = Parser(add_help=False)
    first.add_argument("--ckpt_path")
    first.add_trust()
    named = [word for word in arguments[:1] if not word.startswith("-")]
    options, words = first.parse_known_args(arguments[len(named) :])
    if named and options.ckpt_path:
        raise ValueError(f"nfvae {command} takes one run; got {named[0]} and --ckpt_path {options.ckpt_path}")
    if {"-h", "--help"} & set(words):
        _parser(command, FlowVAE, description).print_help()
        raise SystemExit(0)
    if not (path := next(iter(named), options.ckpt_path)):
        raise ValueError(f"nfvae {command} needs a trained model: nfvae {command} RUN, or --ckpt_path CHECKPOINT")
    return path, words


def _settings(parser: ArgumentParser, words: Sequence[str]) -> dict[str, Any]:
    """Parse words of the command line into settings by section."""
    try:
        parsed = parser.parse_args(words, defaults=False)
    except ArgumentError as error:
        raise ValueError(in_plain_words(str(error), parser)) from error
    with refused("trainer"):
        given: dict[str, Any] = parser.instantiate(parsed).as_dict()
    return given


def _parser(command: str, task: type[TrainingModule], description: str | None) -> ArgumentParser:
    """Return a parser of the settings that matter in this loop; the others are those of the training."""
    parser = ArgumentParser(
        prog=f"nfvae {command} RUN",
        description=f"{description} RUN is the folder of a run or a checkpoint. Settings default to the training's.",
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--ckpt_path", help="Run or checkpoint, if not given as RUN.")
    parser.add_argument("--trust", nargs="+", help=TRUST_HELP)
    offered: list[tuple[str, type, set[str]]] = [
        ("model", task, _MODEL[command] & arguments(task)),
        ("data", DataModule, _DATA),
        ("trainer", pl.Trainer, _TRAINER | {_LIMITS[command]}),
    ]
    for group, owner, names in offered:
        known = arguments(task) if owner is task else set(options_of(owner))
        parser.add_class_arguments(owner, group, skip=known - names, instantiate=False, fail_untyped=False)
    return parser


def _trainer(options: dict[str, Any]) -> pl.Trainer:
    callbacks = [*as_list(options.pop("callbacks", None)), EndWhenTerminated()]
    options["enable_progress_bar"] = options.get("enable_progress_bar") is not False and sys.stdout.isatty()
    if options["enable_progress_bar"]:
        callbacks = [*callbacks, MetricProgressBar()]
    check_processes({"accelerator": "auto", "devices": "auto", "num_nodes": 1} | options)
    with refused("trainer"):
        return pl.Trainer(
            **options,
            callbacks=callbacks,
            logger=False,
            default_root_dir=os.devnull,  # else Lightning loads a SLURM job's checkpoint from there
            enable_checkpointing=False,
        )
