"""`nfvae export`: what of trained runs others need."""

import shutil
from pathlib import Path

from nfvae.commands.arguments import Parser, offer
from nfvae.registry import check_choice
from nfvae.runs import Run
from nfvae.runs.checkpoint import WEIGHTS, exported, model_digest
from nfvae.runs.files import write_tensors
from nfvae.runs.folder import RunFolder


def export_command(arguments: list[str]) -> None:
    """Write trained runs as small folders, to be shared: settings, weights, metrics, and evaluations in sums.

    Every command takes such a folder for a run, as far as its weights are there; no training can go on from it.
    Rounded to 16 bits the weights are another model, which has to be evaluated anew.
    """
    options = export_parser().parse_args(arguments)
    check_choice("--weights", options.weights, WEIGHTS)
    runs = [Run(path, options.trust) for path in options.runs]
    targets = {options.to / run.folder.name: run for run in runs}
    if len(targets) < len(runs):
        raise ValueError("two of the runs have one name")
    for target in targets:
        if target.exists():
            raise ValueError(f"{target} exists already")
    for target, run in targets.items():
        _export(run, RunFolder(target), options.weights)
        print(target)


def export_parser() -> Parser:
    """Return the parser of the command."""
    parser = Parser("nfvae export", export_command.__doc__)
    parser.add_runs("runs", "+")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="where a folder for each run goes")
    text = f"{' | '.join(WEIGHTS)}: as they are, in 16 bits, left out (default: full)"
    offer(parser.add_argument("--weights", default="full", help=text), WEIGHTS)
    return parser


def _export(run: Run, target: RunFolder, weights: str) -> None:
    """Write the checkpoint last, as it makes the folder a run; evaluations go with the model that they are of."""
    checkpoint = exported(run.checkpoint, weights)
    target.best.parent.mkdir(parents=True)
    files = [run.folder.config, run.folder.metrics]
    if model_digest(checkpoint) == run.digest():
        files += [run.folder.evaluation(name) for name in run.folder.evaluations()]
    for file in files:
        if file.is_file():
            shutil.copy(file, target.path)
    write_tensors(target.best, checkpoint)
