"""`nfvae compare`: runs, or the configs they come from, in one table."""

from argparse import Namespace
from pathlib import Path

import yaml

from nfvae.commands.evaluate import evaluate_command
from nfvae.commands.parser import Parser
from nfvae.comparison import FORMATS, Experiment, Result, check_comparable, layout, pool, read_result, read_wandb, rows
from nfvae.report import write_page
from nfvae.runs import LAST, read_checkpoint
from nfvae.tracking import finish


def compare_command(arguments: list[str]) -> None:
    """Compare trained runs in one table: runs that differ in their seeds alone are one line, pooled.

    Errors are standard errors over seeds where there are several, else over images. With --baseline the last columns
    say how much higher the NLL is than the baseline's, paired image by image.
    """
    asked, further = _compare_parser().parse_known_args(arguments)
    if further and not asked.fit:
        raise ValueError(f"unrecognized arguments: {' '.join(further)}")
    results = _results(asked, further)
    if not results:
        raise ValueError("nothing to compare: name runs, configs, or a project with --wandb ENTITY/PROJECT")
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
        "sources", type=Path, nargs="*", metavar="RUN|CONFIG", help="folders of runs, or configs: see --fit"
    )
    parser.add_argument("--samples", type=int, default=5000, help="of the evaluations that are read (default: 5000)")
    parser.add_argument("--split", default="test", help="train, val or test (default: test)")
    parser.add_argument("--wandb", metavar="ENTITY/PROJECT", help="compare the evaluated runs of a wandb project, too")
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


def _results(asked: Namespace, further: list[str]) -> list[Result]:
    """Read what was asked for; with --fit train and evaluate first what is missing."""
    folders = [folder for source in asked.sources for folder in _folders(source, asked, further)]
    if asked.fit and folders:
        limit = ["--limit", str(asked.limit)] if asked.limit else []
        evaluate_command([*map(str, folders), "--split", asked.split, "--samples", str(asked.samples), *limit])
    results = [read_result(folder, asked.split, asked.samples) for folder in dict.fromkeys(folders)]
    return results + (read_wandb(asked.wandb, asked.split, asked.samples) if asked.wandb else [])


def _folders(source: Path, asked: Namespace, further: list[str]) -> list[Path]:
    """Return a run's folder itself, or those of a config, one for each seed, with --fit trained."""
    if source.suffix not in (".yaml", ".yml"):
        return [source]
    folders = {seed: asked.root / f"{source.parent.name}-{source.stem}-seed{seed}" for seed in asked.seeds}
    if asked.fit:
        for seed, folder in folders.items():
            _train(folder, [asked.base, source], seed, further)
    return list(folders.values())


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
