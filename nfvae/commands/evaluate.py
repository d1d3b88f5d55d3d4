"""`nfvae evaluate`: the likelihood of trained runs."""

import os
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only

from nfvae.commands.arguments import Parser, check_caption, described, evaluation_settings, refused
from nfvae.commands.progress import ImagesProgressBar
from nfvae.commands.signals import EndWhenTerminated, ended_by_signals
from nfvae.commands.trainer import check_processes
from nfvae.runs import Evaluation, EvaluationSettings, Run, Table
from nfvae.runs.columns import columns, shown_columns
from nfvae.runs.energies import COLUMNS, evaluate_energy, verdict
from nfvae.runs.estimators import ESTIMATORS, Estimator, estimator_classes, estimator_label
from nfvae.runs.evaluation import described_images, of_its_data
from nfvae.runs.folder import wandb_name
from nfvae.runs.tables import paragraph
from nfvae.runs.tracking import log_results

_CHAINS = 25  # times the usual number of annealed chains, as there is one density instead of many data
_OF_ENERGIES = (
    "Both estimates of log Z are too low on average, but for their noise. ESS is the share of the samples that the "
    "weights are worth. The quadrature covers -12 to 12 in one or two dimensions, if the density ends there. KL uses "
    "the quadrature, else annealing."
)
_ABOVE_ZERO = (
    "log p(x) is above 0 here, which is right for a density of real numbers: it can exceed 1. Such numbers depend on "
    "the units of the data, and compare with those of the same data in the same units alone."
)
_ALL_DEVICES: dict[str, Any] = {"accelerator": "auto", "devices": "auto", "strategy": "auto", "num_nodes": 1}


def evaluate_command(arguments: list[str]) -> None:
    """Estimate the log-likelihood of trained models in nats per image, with its error.

    {estimators}

    Writes RUN/evaluation-SPLIT-ESTIMATOR-SIZE.json with the results, a .csv with the values of every image, and a
    figure as .png. The name of the files lists every setting that is not the default.

    A density is evaluated exactly. For a flow fitted to a log-density (task energy), the log of the normalizer Z is
    estimated, by importance sampling and by annealing with 25 times the chains.

    An interrupted evaluation resumes when the command is repeated. A finished one is not computed again.
    """
    options = evaluate_parser().parse_args(arguments)
    tasks = {Run(path).task == "energy" for path in options.runs}
    if tasks == {True}:
        return _show_energies(options)
    if len(tasks) > 1:
        raise ValueError("runs of the task energy have no likelihood of data: evaluate them apart from others")
    show(summarize(options), options.format, options.columns, options.caption)


def _show_energies(options: Namespace) -> None:
    """Print the normalizers of log-densities that runs were fitted to."""
    estimators = {name: kind.of(vars(options)) for name, kind in options.estimators.items()}
    importance, annealed = estimators["importance"].settings(), estimators["annealed"].settings()
    sizes = importance["samples"], annealed["chains"] * _CHAINS, annealed["temperatures"]
    rows = [
        {"run": str(path), **evaluate_energy(Run(path), *sizes, options.seed)} for path in dict.fromkeys(options.runs)
    ]
    chosen = shown_columns(options.columns, COLUMNS) if options.columns else COLUMNS
    print(Table(rows, chosen, bool(options.columns), options.caption).render(options.format))
    if options.format == "table":
        print(paragraph(_OF_ENERGIES))
        for row in rows:
            print(paragraph(f"{row['run']}: {verdict(row)}"))


def evaluate_parser() -> Parser:
    """Return the parser of the command."""
    estimators = estimator_classes("evaluate")
    description = str(evaluate_command.__doc__).replace("{estimators}", described(estimators))
    images = "use only the first N images (default: all; for sandwich: 100 simulated images)"
    return estimation_parser("nfvae evaluate", description, estimators, images)


@rank_zero_only
def show(summaries: list[dict[str, Any]], format: str = "table", names: Sequence[str] = (), caption: str = "") -> None:
    """Print a table of summaries with the named columns, and how accurate the numbers are."""
    rows = [{**summary, "label": estimator_label(summary)} for summary in summaries]
    for name in set(names) - {"all"}:
        if all(row.get(name) is None for row in rows):
            raise ValueError(f"these evaluations have no {name}; --columns all shows what they have")
    table = Table(rows, shown_columns(names, columns()), bool(names) and "all" not in names, caption)
    if format != "table":
        print(table.render(format))
        return
    for images in dict.fromkeys(of_its_data(f"{described_images(each)}, nats per image", each) for each in summaries):
        print(images)
    print(table.text())
    for estimator in dict.fromkeys(summary["estimator"] for summary in summaries):
        judged = [summary for summary in summaries if summary["estimator"] == estimator]
        print(paragraph(of_its_data(ESTIMATORS.load(estimator).verdict(judged), judged[0])))
    if any(summary.get("bits_per_dim") is None and (summary.get("nll") or 0) < 0 for summary in summaries):
        print(paragraph(_ABOVE_ZERO))


def summarize(options: Namespace) -> list[dict[str, Any]]:
    """Make the evaluations requested by a command's arguments; return the summary of each run and estimator."""
    shown_columns(options.columns, columns())  # refuses unknown ones before the work
    check_caption(options)
    torch.set_float32_matmul_precision(options.matmul_precision)
    runs = [Run(path) for path in dict.fromkeys(options.runs)]
    trainer = evaluation_trainer(**_section(options, "trainer"))
    with redirect_stdout(sys.stdout if options.format == "table" else sys.stderr):
        return evaluate(runs, evaluation_settings(options), trainer, getattr(options, "data.root"))


def evaluate(
    runs: Sequence[Run], evaluations: Sequence[EvaluationSettings], trainer: pl.Trainer, root: str | None = None
) -> list[dict[str, Any]]:
    """Evaluate runs unless that is done already, and return the summary of each run and evaluation."""
    with ended_by_signals(lambda: "repeat the command to resume"):
        every = (Evaluation(run, settings, root) for run in runs for settings in evaluations)
        return [{"run": _name(each), **_summary(each, trainer)} for each in every]


def _name(evaluation: Evaluation) -> str:
    """Return the run's folder, or a checkpoint other than its best, with a suffix for other data than in training."""
    return f"{evaluation.run.shown} {evaluation.other.removeprefix('-')}".rstrip()


def _summary(evaluation: Evaluation, trainer: pl.Trainer) -> dict[str, Any]:
    """Return the summary, computing it if needed; finish any step that an interrupted call left out."""
    summary, zero = evaluation.finished(), trainer.is_global_zero
    if not summary:
        evaluation.run.state()  # refuses a run without weights
        if zero and evaluation.notice:
            print(evaluation.notice)
        summary = evaluation.compute(trainer)
        if zero:
            files = [evaluation.path.with_suffix(".csv"), evaluation.figure]
            print(f"written: {evaluation.path}, {', '.join(path.name for path in files)}")
    if zero and not evaluation.figure.is_file():
        evaluation.draw()
    if zero and not evaluation.is_settled:
        log_results(evaluation.run.folder, wandb_name(evaluation.path.stem), summary, evaluation.figure)
        evaluation.settle()
    return summary


def estimation_parser(
    name: str, description: str | None, estimators: Mapping[str, type[Estimator]], images: str
) -> Parser:
    """Return the parser of a command that evaluates runs by some of the estimators."""
    parser = Parser(name, description)
    parser.add_runs("runs", "+")
    parser.add_evaluation(estimators, images)
    parser.add_argument("--data.root", help="folder of the data, if not that of the training")
    parser.add_layout()
    parser.add_argument(
        "--matmul_precision",
        choices=["highest", "high", "medium"],
        default="highest",
        help="precision of matrix products: high allows TF32 on a GPU, medium bfloat16 in networks (default: highest)",
    )
    for name in ("accelerator", "devices", "strategy"):
        parser.add_argument(f"--trainer.{name}", default="auto", help=f"{name} of Lightning's Trainer (default: auto)")
    parser.add_argument(
        "--trainer.num_nodes", type=int, default=1, help="number of machines, started by torchrun or SLURM (default: 1)"
    )
    parser.add_argument(
        "--trainer.enable_progress_bar",
        type=lambda word: word.lower() != "false",
        default=True,
        help="whether to show a progress bar: true or false",
    )
    return parser


def _section(options: Namespace, name: str) -> dict[str, Any]:
    """Return the settings NAME.* that were given."""
    found = {key.partition(".")[2]: value for key, value in vars(options).items() if key.startswith(f"{name}.")}
    return {key: value for key, value in found.items() if value is not None}


def evaluation_trainer(enable_progress_bar: bool = True, **devices: Any) -> pl.Trainer:
    """Return the trainer for evaluations on the given devices."""
    devices = {**_ALL_DEVICES, **devices}
    check_processes(devices)
    with refused("trainer"):
        return pl.Trainer(
            **devices,
            callbacks=[EndWhenTerminated(), *([ImagesProgressBar()] if enable_progress_bar else [])],
            logger=False,
            default_root_dir=os.devnull,  # else Lightning loads a SLURM job's checkpoint from there
            enable_progress_bar=False,
            enable_checkpointing=False,
            use_distributed_sampler=False,
        )
