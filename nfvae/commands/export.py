"""`nfvae export`: the parts of trained runs that others need."""

import shutil
from pathlib import Path
from typing import Any

from nfvae.commands.arguments import Parser, offer
from nfvae.registry import check_choice
from nfvae.runs import Run
from nfvae.runs.checkpoint import WEIGHTS, exported, model_digest
from nfvae.runs.evaluation import read_evaluation
from nfvae.runs.files import write_tensors
from nfvae.runs.folder import RunFolder


def export_command(arguments: list[str]) -> None:
    """Copy trained runs into small folders: settings, weights, metrics, and evaluations without single images.

    Every command takes such a folder as a run, except that a training cannot resume from it. Weights that are rounded
    to 16 bits are another model, which must be evaluated anew.
    """
    options = export_parser().parse_args(arguments)
    check_choice("--weights choice", options.weights, WEIGHTS)
    if RunFolder(options.to).is_trained:
        raise ValueError(f"{options.to} is a run; expected a folder for exported ones")
    targets: dict[Path, tuple[Run, dict[str, Any]]] = {}
    for path in options.runs:
        run = Run(path)
        if (target := options.to / run.folder.name) in targets:
            raise ValueError(f"two of the runs are called {run.folder.name}")
        if target.exists():
            raise ValueError(f"{target} exists already")
        targets[target] = (run, _exported(run, options.weights))
    for target, (run, checkpoint) in targets.items():
        _export(run, checkpoint, target)
        print(target)


def export_parser() -> Parser:
    """Return the parser of the command."""
    parser = Parser("nfvae export", export_command.__doc__)
    parser.add_runs("runs", "+")
    parser.add_argument(
        "--to", type=Path, required=True, metavar="FOLDER", help="folder to write to; each run gets a folder in it"
    )
    text = "full: as they are, half: rounded to 16 bits, none: left out (default: full)"
    offer(parser.add_argument("--weights", default="full", help=text), WEIGHTS)
    return parser


def _exported(run: Run, weights: str) -> dict[str, Any]:
    """Return the checkpoint to write; raises ValueError if weights are missing or cannot be exported."""
    if weights != "none":
        run.state()
    try:
        return exported(run.checkpoint, weights)
    except ValueError as error:
        raise ValueError(f"cannot export {run.path} with --weights {weights}: {error}") from error


def _export(run: Run, checkpoint: dict[str, Any], target: Path) -> None:
    """Write the folder under a temporary name, and rename it when it is complete."""
    unfinished = RunFolder(target.parent / f".{target.name}.exported")
    shutil.rmtree(unfinished.path, ignore_errors=True)  # left by a killed export
    try:
        _write(run, checkpoint, unfinished)
        unfinished.path.rename(target)
    finally:
        shutil.rmtree(unfinished.path, ignore_errors=True)


def _write(run: Run, checkpoint: dict[str, Any], target: RunFolder) -> None:
    """Write what others need, with only the evaluations of exactly this model."""
    digest = model_digest(checkpoint)
    target.best.parent.mkdir(parents=True)
    write_tensors(target.best, checkpoint)
    for file in (run.folder.config, run.folder.metrics):
        if file.is_file():
            shutil.copy(file, target.path)
    for name in run.folder.evaluations():
        file = run.folder.evaluation(name)
        if read_evaluation(file)["model_sha256"] == digest:
            shutil.copy(file, target.path / file.name.replace(f"-{run.path.stem}.json", ".json"))
