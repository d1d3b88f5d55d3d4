"""`nfvae evaluate`: the likelihood of trained runs."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from nfvae.callbacks import ImagesProgressBar
from nfvae.commands.parser import Parser
from nfvae.evaluation import HEAVY, Evaluation, evaluate
from nfvae.importance import log_weights
from nfvae.plots import likelihood_figure
from nfvae.runs import Run
from nfvae.tracking import log_evaluation

_HISTOGRAM_IMAGES = 32  # images whose log-weights the histogram shows


def evaluate_command(arguments: list[str]) -> None:
    """Estimate the log-likelihood of trained runs by importance sampling, and say how far to believe it.

    Writes RUN/evaluation-SPLIT-SAMPLES.json, the values of every image as .csv and a figure as .png. An interrupted
    call goes on where it was; a finished one is not repeated.
    """
    asked = vars(_evaluate_parser().parse_args(arguments))
    torch.set_float32_matmul_precision(asked.pop("matmul_precision"))
    devices, data = _section(asked, "trainer"), _section(asked, "data")
    runs = [Run(folder) for folder in dict.fromkeys(asked.pop("runs"))]
    bar: list[pl.Callback] = [ImagesProgressBar()] if devices.pop("enable_progress_bar") else []
    trainer = pl.Trainer(
        **devices,
        callbacks=bar,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
    )
    summaries = {}
    try:
        for run in runs:
            evaluation = evaluate(run, trainer, **asked, **data)
            summaries[str(run.folder)] = evaluation.summary
            if trainer.is_global_zero and evaluation.estimate:
                _report(run, evaluation, asked["samples"], asked["seed"])
    except SystemExit:  # what Lightning makes of a keyboard interrupt
        print("interrupted; the same command goes on from here")
        raise
    if trainer.is_global_zero:
        print(_table(summaries))
        print(_how_far_to_believe(summaries))


def _evaluate_parser() -> Parser:
    parser = Parser(prog="nfvae evaluate", description=evaluate_command.__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a run, as runs/NAME")
    parser.add_argument("--samples", type=int, default=5000, help="importance samples an image (default: 5000)")
    parser.add_argument("--split", default="test", help="train, val or test (default: test)")
    parser.add_argument("--limit", type=int, help="how many images, the first ones (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the importance samples (default: 0)")
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


def _section(asked: dict[str, Any], name: str) -> dict[str, Any]:
    """Take the settings NAME.* that were given out of all settings."""
    keys = [key for key in asked if key.startswith(f"{name}.")]
    values = {key.partition(".")[2]: asked.pop(key) for key in keys}
    return {key: value for key, value in values.items() if value is not None}


def _report(run: Run, evaluation: Evaluation, samples: int, seed: int) -> None:
    """Draw the figure of an evaluation just finished, and log figure and summary to the run's wandb."""
    assert evaluation.estimate is not None
    model, images = run.module().model, evaluation.images
    some = torch.linspace(0, len(images) - 1, min(_HISTOGRAM_IMAGES, len(images))).long()
    weights = log_weights(model, images[some].float(), samples, seed=seed, indices=some)
    figure = likelihood_figure(evaluation.estimate, weights, images, samples, run.data().image_shape)
    path = evaluation.path.with_suffix(".png")
    figure.savefig(path)
    print(f"written: {evaluation.path}, {path.with_suffix('.csv').name}, {path.name}")
    log_evaluation(run.folder, evaluation.summary, path)


def _table(summaries: dict[str, dict[str, Any]]) -> str:
    """Lay out one line a run, in nats per image."""
    head = ["run", "images", "samples", "-ELBO", "NLL", "± images", "± sampling", "gap", "KL", "bits/pixel", "active"]
    rows = [[*head, "ESS median", "ESS 5%", f"k̂ > {HEAVY}", "seconds"]]
    for name, s in summaries.items():
        heavy = s["khat_above_0_7"]
        rows.append(
            [
                name,
                str(s["images"]),
                str(s["samples"]),
                f"{-s['elbo']:.2f} ± {_fixed(s['elbo_se'])}",
                _fixed(s["nll"]),
                _fixed(s["nll_se"]),
                _fixed(s["nll_mc_se"], 3),
                _fixed(s["gap"]),
                _fixed(s["kl"]),
                _fixed(s["bits_per_pixel"], 4),
                _fixed(s["active_units"], 0),
                _fixed(s["ess_median"], 1),
                _fixed(s["ess_p05"], 1),
                "?" if heavy is None else f"{heavy:.1%}",
                _fixed(s["seconds"], 0),
            ]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    lines = (" | ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(f"| {line} |" for line in lines)


def _fixed(value: float | None, digits: int = 2) -> str:
    return "?" if value is None else f"{value:.{digits}f}"


def _how_far_to_believe(summaries: dict[str, dict[str, Any]]) -> str:
    shares = [s["khat_above_0_7"] for s in summaries.values()]
    if None in shares:
        return "k̂ takes 25 samples an image at least: how far to believe these likelihoods is not known."
    if max(shares) == 0:
        return f"No image has k̂ above {HEAVY}: estimates and standard errors can be believed."
    return (
        f"Where k̂ > {HEAVY} a few samples carry the estimate of an image: its NLL is likely too high and its sampling\n"
        "error too small. It is an upper bound of the true NLL in expectation, which more samples lower slowly."
    )
