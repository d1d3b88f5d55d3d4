"""What is done with trained runs: draw samples, estimate likelihoods, compare."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytorch_lightning as pl
import torch
import yaml

from nfvae.callbacks import ImagesProgressBar
from nfvae.comparison import FORMATS, Experiment, check_comparable, layout, pool, read_result, rows
from nfvae.evaluation import HEAVY, Evaluation, evaluate
from nfvae.importance import log_weights
from nfvae.plots import image_grid, likelihood_figure
from nfvae.report import write_page
from nfvae.runs import LAST, Run, read_checkpoint
from nfvae.tracking import finish, log_evaluation

_HISTOGRAM_IMAGES = 32  # images whose log-weights the histogram shows


class Parser(argparse.ArgumentParser):
    """A parser that raises instead of printing its usage and leaving."""

    def error(self, message: str) -> NoReturn:  # noqa: D102
        raise ValueError(message)


def sample_command(arguments: list[str]) -> None:
    """Draw images from a trained run into a PNG."""
    parser = Parser(prog="nfvae sample", description=sample_command.__doc__)
    parser.add_argument("run", type=Path, help="folder of the run, as runs/NAME")
    parser.add_argument("--count", type=int, default=64, help="number of images")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--output", type=Path, help="PNG to write; by default RUN/samples-COUNT.png")
    asked = parser.parse_args(arguments)
    if asked.count < 1:
        raise ValueError(f"--count must be at least 1; got {asked.count}")
    run = Run(asked.run)
    model, shape = run.module().model, run.data().image_shape
    pl.seed_everything(asked.seed, verbose=False)
    path = asked.output or asked.run / f"samples-{asked.count}.png"
    image_grid(model.sample(asked.count), shape, columns=min(8, asked.count)).savefig(path)
    print(path)


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


def compare_command(arguments: list[str]) -> None:
    """Compare trained runs in one table: runs that differ in their seeds alone are one line, pooled.

    Errors are standard errors over seeds where there are several, else over images. With --baseline the last columns
    say how much higher the NLL is than the baseline's, paired image by image.
    """
    asked, further = _compare_parser().parse_known_args(arguments)
    if further and not asked.fit:
        raise ValueError(f"unrecognized arguments: {' '.join(further)}")
    folders = []
    for source in asked.sources:
        if source.suffix not in (".yaml", ".yml"):
            folders.append(source)
            continue
        named = {seed: asked.root / f"{source.parent.name}-{source.stem}-seed{seed}" for seed in asked.seeds}
        for seed, folder in named.items() if asked.fit else ():
            _train(folder, [asked.base, source], seed, further)
        folders += named.values()
    if asked.fit:
        limit = ["--limit", str(asked.limit)] if asked.limit else []
        evaluate_command([*map(str, folders), "--split", asked.split, "--samples", str(asked.samples), *limit])
    results = [read_result(folder, asked.split, asked.samples) for folder in dict.fromkeys(folders)]
    if not asked.force:
        check_comparable(results)
    experiments = pool(results)
    baseline = _chosen(experiments, asked.baseline)
    table = rows(experiments, baseline)
    if asked.sort not in table[0]:
        raise ValueError(f"unknown column {asked.sort!r} to sort by; known: {', '.join(table[0])}")
    table.sort(key=lambda row: (row[asked.sort] is None, row[asked.sort]))
    print(layout(table, asked.format))
    if asked.html:
        write_page(asked.html, experiments, baseline, layout(table, "markdown"))
        print(f"written: {asked.html}")


def _compare_parser() -> Parser:
    parser = Parser(prog="nfvae compare", description=compare_command.__doc__, allow_abbrev=False)
    parser.add_argument(
        "sources", type=Path, nargs="+", metavar="RUN|CONFIG", help="folders of runs, or configs: see --fit"
    )
    parser.add_argument("--samples", type=int, default=5000, help="of the evaluations that are read (default: 5000)")
    parser.add_argument("--split", default="test", help="train, val or test (default: test)")
    parser.add_argument("--baseline", help="name of an experiment in the table that the others are compared with")
    parser.add_argument("--sort", default="nll", help="name of a number, as --format json has it (default: nll)")
    parser.add_argument("--format", default="table", choices=FORMATS, help="of what is printed (default: table)")
    parser.add_argument("--html", type=Path, help="write a page with table, curves and samples, too")
    parser.add_argument("--force", action="store_true", help="compare what was evaluated on different images, too")
    parser.add_argument(
        "--fit",
        action="store_true",
        help="train and evaluate first what is missing, A/B.yaml as ROOT/A-B-seedN; further settings go to fit",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of each config (default: 0)")
    parser.add_argument("--base", type=Path, default=Path("configs/base.yaml"), help="config under each config")
    parser.add_argument("--root", type=Path, default=Path("runs"), help="where the runs of configs are (default: runs)")
    parser.add_argument("--limit", type=int, help="images of an evaluation that is missing (default: all)")
    return parser


def _train(folder: Path, configs: list[Path], seed: int, further: list[str]) -> None:
    """Fit a run, go on with one that was interrupted, or leave one that is done."""
    from nfvae.cli import NfvaeCLI, with_run_config  # which imports this module

    if (last := folder / LAST).is_file():
        epochs = yaml.safe_load((folder / "config.yaml").read_text())["trainer"]["max_epochs"]
        if read_checkpoint(last)["epoch"] + 1 >= epochs:
            return
        words = ["--ckpt_path", str(last)]
    else:
        words = [word for config in configs for word in ("-c", str(config))]
        words += ["--name", folder.name, "--trainer.default_root_dir", str(folder.parent)]
        words += ["--seed_everything", str(seed), *further]
    print(f"training {folder}")
    NfvaeCLI(with_run_config(["fit", *words]))
    finish()


def _chosen(experiments: list[Experiment], name: str | None) -> Experiment | None:
    if name is None:
        return None
    for experiment in experiments:
        if name in (experiment.name, experiment.results[0].settings["flow"]):
            return experiment
    raise ValueError(f"unknown baseline {name!r}; known: {', '.join(experiment.name for experiment in experiments)}")


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "compare": compare_command,
    "evaluate": evaluate_command,
    "sample": sample_command,
}
