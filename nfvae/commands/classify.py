"""`nfvae classify`: labels by a model of labeled data."""

import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from nfvae.commands.arguments import Parser, check_file, check_new, chosen_estimators, offer
from nfvae.data import SPLITS
from nfvae.data.inputs import read_rows
from nfvae.estimators import calibration, class_log_likelihoods, class_probabilities
from nfvae.plots import classification_figure
from nfvae.registry import check_choice, check_number, check_seed
from nfvae.runs import Run
from nfvae.runs.estimators import Estimator, Images, estimator_classes
from nfvae.runs.files import write_figure, write_whole
from nfvae.runs.summaries import error_of_mean
from nfvae.runs.tables import Column, Table, paragraph

_MEANING = (
    "Calibration error: mean distance between confidence, the largest p(y|x), and accuracy. A confidence above the "
    "accuracy means that the model is too sure."
)
_AT_ONCE = 100  # data between two steps of the progress bar


def classify_command(arguments: list[str]) -> None:
    """Classify data by a model that was trained with labels.

    The class of x has the largest p(y|x), which is proportional to p(x|y) p(y). The estimator gives log p(x|y); p(y) is
    the share of the class in the training data.

    Writes a .csv with one row per datum: its label if known, the predicted label and p(y|x) of every class. For labeled
    data it also writes accuracy and calibration as .json, and a picture as .png.
    """
    options = classify_parser().parse_args(arguments)
    check_seed("--seed", options.seed)
    if options.limit is not None:
        check_number("--limit", options.limit, least=1)
    if options.split is not None:
        check_choice("split", options.split, SPLITS)
    if options.output is not None:
        check_file("--output", options.output, (".csv",))
        check_new("--output", options.output)
    [estimator] = chosen_estimators(options)
    run = Run(options.run)
    x, labels, name = _data(run, options)
    path: Path = options.output or run.folder.path / f"classified-{name}-{estimator.name}-{estimator.size()}.csv"
    probabilities = _classified(run, x, estimator, options.seed)
    _write(path, run.names.classes, probabilities, labels)
    if labels is None:
        print(path)
    else:
        _report(path, run, probabilities, labels, name)


def classify_parser() -> Parser:
    """Return the parser of the command."""
    parser = Parser("nfvae classify", classify_command.__doc__)
    parser.add_runs("run", None)
    text = "file of data to classify, as for nfvae score (default: a split of the run's data)"
    parser.add_argument("--input", type=Path, help=text)
    offer(parser.add_argument("--split", help="part of the data: train, val or test (default: test)"), SPLITS)
    parser.add_argument("--limit", type=int, help="use only the first N data (default: all)")
    estimators = estimator_classes("score")
    text = f"estimator of log p(x|y): {' or '.join(estimators)} (default: importance)"
    offer(parser.add_argument("--estimator", nargs=1, default=["importance"], metavar="NAME", help=text), estimators)
    parser.add_estimators(estimators, samples=100, budget="small")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.add_argument("--output", type=Path, help="file to write (default: RUN/classified-DATA-ESTIMATOR-SIZE.csv)")
    return parser


def _data(run: Run, options: Namespace) -> tuple[Tensor, Tensor | None, str]:
    """Return the data with shape (N, P), their classes with shape (N,) if known, and their name."""
    if not run.names.classes:
        raise ValueError(f"run {run.folder.path} was trained without labels (--data.labels), so it cannot classify")
    if options.input is None:
        split = options.split or "test"
        rows, name = run.data().rows(split), split
    else:
        rows = read_rows(options.input, run.spec, run.data_settings, run.names.columns, run.names.classes)
        name = options.input.stem
    rows = rows[: options.limit]
    name += "" if options.limit is None else f"-first{options.limit}"
    if rows.shape[1] == run.spec.size:
        return rows, None, name
    return rows[:, : run.spec.size], rows[:, run.spec.size :].argmax(1), name


def _classified(run: Run, x: Tensor, estimator: Estimator, seed: int) -> Tensor:
    """Return p(y|x) with shape (N, K)."""
    model, parts = run.vae(), []
    console = Console(stderr=True)
    every = range(0, len(x), _AT_ONCE)
    for first in track(every, "classifying", console=console, transient=True, disable=not console.is_terminal):
        some = x[first : first + _AT_ONCE]
        indices = torch.arange(first, first + len(some))

        def estimate(rows: Tensor, indices: Tensor = indices) -> Tensor:
            found: Tensor = estimator.estimate(model, Images(rows), indices, seed).log_likelihood
            return found

        parts.append(class_log_likelihoods(model, some, estimate))
    return class_probabilities(torch.cat(parts), torch.tensor(run.names.class_shares, dtype=torch.float64))


def _write(path: Path, classes: Sequence[str], probabilities: Tensor, labels: Tensor | None) -> None:
    rows = []
    for index, each in enumerate(probabilities):
        known = {} if labels is None else {"label": classes[int(labels[index])]}
        shares = {f"p_{name}": value for name, value in zip(classes, each.tolist(), strict=True)}
        rows.append({"index": index, **known, "predicted": classes[int(each.argmax())], **shares})
    write_whole(path, Table(rows, []).csv() + "\n")


def _report(path: Path, run: Run, probabilities: Tensor, labels: Tensor, name: str) -> None:
    """Write and print accuracy and calibration, and draw them."""
    curve, predicted = calibration(probabilities, labels), probabilities.argmax(1)
    correct = (predicted == labels).double()
    summary: dict[str, Any] = {
        "images": len(labels),
        "accuracy": round(float(correct.mean()), 6),
        "accuracy_se": round(float(error_of_mean(correct).nan_to_num(0)), 6),
        "nll_label": round(float(-probabilities.gather(1, labels[:, None]).clamp_min(1e-300).log().mean()), 6),
        "calibration_error": round(curve.error, 6),
        "model_sha256": run.digest(),
    }
    write_whole(path.with_suffix(".json"), json.dumps(summary, indent=2) + "\n")
    confusion = torch.zeros(len(run.names.classes), len(run.names.classes)).index_put(
        (labels, predicted), torch.ones(len(labels)), accumulate=True
    )
    title = f"{run.folder.name}: {name}, accuracy {summary['accuracy']:.1%}"
    write_figure(path.with_suffix(".png"), classification_figure(confusion, curve, run.names.classes, title))
    columns = [
        Column("images", "data", 0),
        Column("accuracy", "accuracy", 1, "accuracy_se", percent=True),
        Column("nll_label", "-log p(y|x), nats", 3),
        Column("calibration_error", "calibration error", 1, percent=True),
    ]
    print(Table([summary], columns).text())
    print(paragraph(_MEANING))
    print(f"written: {path}, {path.with_suffix('.json').name}, {path.with_suffix('.png').name}")
