"""`nfvae evaluate`: the likelihood of trained runs."""

from argparse import Namespace
from typing import Any

import pytorch_lightning as pl
import torch

from nfvae.commands.arguments import Parser
from nfvae.commands.progress import ImagesProgressBar
from nfvae.commands.signals import INTERRUPTED, TERMINATED, EndWhenTerminated
from nfvae.estimators import log_weights
from nfvae.estimators.pareto import KHAT_LIMIT
from nfvae.plots import likelihood_figure
from nfvae.runs import Evaluation, Run, Table
from nfvae.runs.results import COLUMNS
from nfvae.runs.tables import FORMATS
from nfvae.runs.tracking import log_evaluation

_HISTOGRAM_IMAGES = 32  # images whose log-weights the histogram shows


def evaluate_command(arguments: list[str]) -> None:
    """Estimate the log-likelihood of trained runs by importance sampling, with its diagnostics.

    Writes RUN/evaluation-SPLIT-SAMPLES.json, the values of every image as .csv and a figure as .png. An interrupted
    call goes on where it was; a finished one is not repeated.
    """
    evaluate(_evaluate_parser().parse_args(arguments))


def evaluate(options: Namespace) -> None:
    """Evaluate what was asked for, and print the table."""
    torch.set_float32_matmul_precision(options.matmul_precision)
    devices, data = _section(options, "trainer"), _section(options, "data")
    runs = [Run(path, options.trust) for path in dict.fromkeys(options.runs)]
    trainer = _trainer(**devices)
    summaries = []
    try:
        for run in runs:
            evaluation = Evaluation(run, options.samples, options.split, options.limit, options.seed, **data)
            summary = evaluation.finished()
            if not summary:
                summary = evaluation.compute(trainer)
                if trainer.is_global_zero:
                    _report(evaluation, summary)
            summaries.append({"run": str(run.folder.path), **summary})
    except SystemExit as error:  # what Lightning makes of a keyboard interrupt
        print("interrupted; the same command goes on from here")
        raise SystemExit(TERMINATED if error.code == TERMINATED else INTERRUPTED) from None
    if trainer.is_global_zero:
        print(Table(summaries, COLUMNS).render(options.format))
        if options.format == "table":
            print(_how_far_to_believe(summaries))


def _evaluate_parser() -> Parser:
    parser = Parser("nfvae evaluate", evaluate_command.__doc__)
    parser.add_runs("runs", "+")
    parser.add_argument("--samples", type=int, default=5000, help="importance samples an image (default: 5000)")
    parser.add_argument("--split", default="test", help="train, val or test (default: test)")
    parser.add_argument("--limit", type=int, help="how many images, the first ones (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the importance samples (default: 0)")
    parser.add_argument("--format", choices=FORMATS, default="table", help="of what is printed (default: table)")
    parser.add_argument(
        "--matmul_precision",
        choices=["highest", "high", "medium"],
        default="highest",
        help="of float32 matrix products, see torch.set_float32_matmul_precision (default: highest)",
    )
    for name in ("dataset", "binarization", "root"):
        parser.add_argument(f"--data.{name}", help=f"another {name} than in training")
    for name in ("accelerator", "devices", "strategy"):
        parser.add_argument(f"--trainer.{name}", default="auto", help="as for Lightning's Trainer (default: auto)")
    parser.add_argument(
        "--trainer.enable_progress_bar", type=lambda word: word.lower() != "false", default=True, help="true or false"
    )
    return parser


def _section(options: Namespace, name: str) -> dict[str, Any]:
    """Return the settings NAME.* that were given."""
    found = {key.partition(".")[2]: value for key, value in vars(options).items() if key.startswith(f"{name}.")}
    return {key: value for key, value in found.items() if value is not None}


def _trainer(enable_progress_bar: bool, **devices: Any) -> pl.Trainer:
    return pl.Trainer(
        **devices,
        callbacks=[EndWhenTerminated(), *([ImagesProgressBar()] if enable_progress_bar else [])],
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
    )


def _report(evaluation: Evaluation, summary: dict[str, Any]) -> None:
    """Draw the figure of an evaluation just finished, and log figure and summary to the run's wandb."""
    assert evaluation.estimate is not None
    images, samples = evaluation.images, summary["samples"]
    some = torch.linspace(0, len(images) - 1, min(_HISTOGRAM_IMAGES, len(images))).long()
    model = evaluation.run.vae()
    weights = log_weights(model, images[some].float(), samples, seed=summary["seed"], indices=some)
    path = evaluation.path.with_suffix(".png")
    likelihood_figure(evaluation.estimate, weights, images, samples, evaluation.shape).savefig(path)
    print(f"written: {evaluation.path}, {path.with_suffix('.csv').name}, {path.name}")
    log_evaluation(evaluation.run.folder, summary, path)


def _how_far_to_believe(summaries: list[dict[str, Any]]) -> str:
    shares = [s["khat_above_0_7"] for s in summaries]
    if None in shares:
        return "k̂ takes 25 samples an image at least: how far to believe these likelihoods is not known."
    if max(shares) == 0:
        return f"No image has k̂ above {KHAT_LIMIT}: estimates and standard errors can be believed."
    return (
        f"Where k̂ > {KHAT_LIMIT} a few samples carry the estimate of an image: its NLL is likely too high and its\n"
        "sampling error too small. It is an upper bound of the true NLL in expectation; more samples lower it slowly."
    )
