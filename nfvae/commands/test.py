"""`nfvae validate`, `nfvae test` and `nfvae predict`: Lightning's other loops, on a trained run."""

import json
import sys
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from jsonargparse import ArgumentParser
from pytorch_lightning.utilities import rank_zero_only

from nfvae.commands.arguments import TRUST_HELP, Parser, as_list, refused
from nfvae.commands.progress import MetricProgressBar
from nfvae.registry import options_of
from nfvae.runs import Run, Table
from nfvae.runs.files import write_tensors, write_whole
from nfvae.runs.run import DATA
from nfvae.runs.tables import Column
from nfvae.runs.tracking import log_results
from nfvae.training import TASKS, FlowVAE, TrainingModule

_MODEL = {"validate": {"val_samples"}, "test": {"test_samples"}, "predict": set[str]()}
_TRAINER = {"accelerator", "devices", "num_nodes", "strategy", "precision", "callbacks", "enable_progress_bar"}
_LIMITS = {"validate": "limit_val_batches", "test": "limit_test_batches", "predict": "limit_predict_batches"}
_DATA = {"dataset", "binarization", "root", "download", "eval_batch_size"}


def validate_command(arguments: list[str]) -> None:
    """Report a trained model on the validation set."""
    _report("validate", "val", arguments, validate_command.__doc__)


def test_command(arguments: list[str]) -> None:
    """Report a trained model on the test set."""
    _report("test", "test", arguments, test_command.__doc__)


def predict_command(arguments: list[str]) -> None:
    """Write a posterior sample of each test image, or as many samples of a density, beside the checkpoint."""
    run, samples = _loop("predict", arguments, predict_command.__doc__)
    if not samples:
        raise ValueError("no batch to predict: trainer.limit_predict_batches must be above 0")
    write_tensors(run.folder.latents, torch.cat(samples))
    what = "one posterior sample of each test image" if run.kind == "vae" else "as many samples as test vectors"
    print(f"{what}: {run.folder.latents}")


def validate_parser() -> ArgumentParser:
    """Return the parser of the command, as for a VAE."""
    return _parser("validate", FlowVAE, validate_command.__doc__)


def test_parser() -> ArgumentParser:
    """Return the parser of the command, as for a VAE."""
    return _parser("test", FlowVAE, test_command.__doc__)


def predict_parser() -> ArgumentParser:
    """Return the parser of the command, as for a VAE."""
    return _parser("predict", FlowVAE, predict_command.__doc__)


def _report(command: str, split: str, arguments: Sequence[str], description: str | None) -> None:
    """Print what a loop finds, and write it beside the run and to its wandb."""
    run, [results] = _loop(command, arguments, description)
    _write_report(run, command, split, results)


@rank_zero_only
def _write_report(run: Run, command: str, split: str, results: dict[str, float]) -> None:
    rows = [{"metric": name, "value": value} for name, value in results.items()]
    print(Table(rows, [Column("metric", f"{run.folder.path}, {split} set"), Column("value", "nats", 3)]).text())
    path = run.folder.report(command)
    write_whole(path, json.dumps({"model_sha256": run.digest(), **results}, indent=2) + "\n")
    samples = run.settings.get(f"{split}_samples", 0)
    log_results(run.folder, f"{split}/loop-{samples}", {key.partition("/")[2]: value for key, value in results.items()})
    print(f"written: {path}")


def _loop(command: str, arguments: Sequence[str], description: str | None) -> tuple[Run, Any]:
    """Run one of Lightning's loops, and return the run with what the loop gives."""
    first = Parser(add_help=False)
    first.add_argument("--ckpt_path")
    first.add_trust()
    named = [word for word in arguments[:1] if not word.startswith("-")]
    options, words = first.parse_known_args(arguments[len(named) :])
    if named and options.ckpt_path:
        raise ValueError(f"nfvae {command} takes one run; got {named[0]} and --ckpt_path {options.ckpt_path}")
    path = next(iter(named), options.ckpt_path)
    if {"-h", "--help"} & set(words):
        _parser(command, FlowVAE, description).print_help()
        raise SystemExit(0)
    if not path:
        raise ValueError(f"nfvae {command} needs a trained model: nfvae {command} RUN, or --ckpt_path CHECKPOINT")
    run = Run(path)
    task = TASKS.load(run.task)
    parser = _parser(command, task, description)
    with refused("trainer"):
        given = parser.instantiate(parser.parse_args(words, defaults=False)).as_dict()
    data, module = run.data(**given.get("data", {})), task.from_run(run, **given.get("model", {}))
    module.check_shape(data)
    trainer = _trainer(given.get("trainer", {}))
    quietly = {} if command == "predict" else {"verbose": False}
    return run, getattr(trainer, command)(module, data, **quietly)


def _parser(command: str, task: type[TrainingModule], description: str | None) -> ArgumentParser:
    """Offer the settings that mean something in this loop; the others are those of the training."""
    parser = ArgumentParser(
        prog=f"nfvae {command} RUN",
        description=f"{description} RUN is a run's folder or a checkpoint; settings not given are the training's.",
        exit_on_error=False,
    )
    parser.add_argument("--ckpt_path", help="The run, where it does not come first.")
    parser.add_argument("--trust", nargs="+", help=TRUST_HELP)
    offered: list[tuple[str, type, set[str]]] = [
        ("model", task, _MODEL[command] & task.arguments()),
        ("data", DATA[task.kind], _DATA & set(options_of(DATA[task.kind]))),
        ("trainer", pl.Trainer, _TRAINER | {_LIMITS[command]}),
    ]
    for group, owner, names in offered:
        known = task.arguments() if owner is task else set(options_of(owner))
        parser.add_class_arguments(owner, group, skip=known - names, instantiate=False, fail_untyped=False)
    return parser


def _trainer(options: dict[str, Any]) -> pl.Trainer:
    callbacks = as_list(options.pop("callbacks", None))
    options["enable_progress_bar"] = options.get("enable_progress_bar") is not False and sys.stdout.isatty()
    if options["enable_progress_bar"]:
        callbacks = [*callbacks, MetricProgressBar()]
    with refused("trainer"):
        return pl.Trainer(**options, callbacks=callbacks, logger=False, enable_checkpointing=False)
