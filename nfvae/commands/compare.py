"""`nfvae compare`: runs, or configs to train, in one table."""

import shlex
import sys
from argparse import Namespace
from contextlib import redirect_stdout
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

import torch

from nfvae.commands.arguments import Parser, check_caption, check_file, evaluation_settings
from nfvae.commands.evaluate import evaluate, evaluation_trainer, show
from nfvae.commands.fit import fit
from nfvae.commands.plan import Plan, check_same_data
from nfvae.commands.settings import settings_of
from nfvae.commands.sweep import run_all
from nfvae.registry import unknown
from nfvae.runs import (
    EvaluationSettings,
    Experiment,
    Result,
    Run,
    check_comparable,
    comparison_table,
    pool,
    read_result,
    read_wandb,
)
from nfvae.runs.comparison import check_columns, verdict
from nfvae.runs.estimators import estimator_classes
from nfvae.runs.evaluation import described, described_images, of_its_data
from nfvae.runs.page import write_page
from nfvae.runs.results import planned_result, read_summary
from nfvae.runs.tables import paragraph
from nfvae.runs.tracking import finish

_BASE = Path("configs/mnist.yaml")
_MAY_DIFFER = {  # settings that do not change the outcome
    *("root", "download", "eval_batch_size", "compile", "default_root_dir", "log_every_n_steps", "logger"),
    *("enable_progress_bar", "enable_model_summary", "accelerator", "devices", "num_nodes", "strategy"),
}


def compare_command(arguments: list[str]) -> None:
    """Compare trained runs, or configs that are trained first, in one table.

    Runs that differ only in their random seed are one row: their mean with its standard error over seeds. Other errors
    are over images. With --baseline the last columns are the difference of the NLL to the baseline, paired image by
    image, with its standard errors over images and over seeds.
    """
    parser = compare_parser()
    options, fit_arguments = parser.parse_known_args(arguments)
    if options.html is not None:
        check_file("--html", options.html, (".html", ".htm"))
    check_caption(options)
    if fit_arguments and not (options.fit and any(map(_is_config, options.runs))):
        parser.error(f"unrecognized arguments: {' '.join(fit_arguments)}")
    log = sys.stdout if options.format == "table" else sys.stderr
    with redirect_stdout(log):
        results = _results(options, fit_arguments)
    if not results:
        raise ValueError("nothing to compare: name runs, configs, or a project with --wandb ENTITY/PROJECT")
    if not options.force:
        check_comparable(results)
    experiments = pool(results)
    baseline = _chosen(experiments, options.baseline)
    table = comparison_table(experiments, baseline, options.sort, options.columns, options.caption)
    if options.format == "table":
        for said in dict.fromkeys(_evaluations(result.summary) for result in results):
            print(f"evaluations: {said}")
    print(table.render(options.format))
    for words in verdict(experiments, baseline):
        print(paragraph(words), file=log)
    if options.html:
        whole = comparison_table(experiments, baseline, options.sort, options.columns or ["all"])
        write_page(options.html, experiments, baseline, whole, shlex.join(["nfvae", "compare", *arguments]))
        print(f"written: {options.html}")


def compare_parser() -> Parser:
    """Return the parser of the command; unknown arguments go to fit."""
    parser = Parser("nfvae compare", compare_command.__doc__)
    parser.add_runs("runs", "*", ", or a config: see --fit")
    parser.add_evaluation(estimator_classes("compare"))
    parser.add_argument(
        "--wandb", metavar="ENTITY/PROJECT", help="also compare the evaluated runs of this wandb project"
    )
    parser.add_argument("--baseline", help="run, flow or experiment (such as 'none-1 prior=flow') to compare with")
    parser.add_argument(
        "--sort", default="nll", help="number that the rows are sorted by, named as in --format json (default: nll)"
    )
    parser.add_layout()
    parser.add_argument("--html", type=Path, help="also write a page with the table, curves and samples")
    parser.add_argument(
        "--force",
        action="store_true",
        help="compare runs that were evaluated on different images or by different estimators",
    )
    _add_training(parser)
    return parser


def _add_training(parser: Parser) -> None:
    """Add the arguments for training configs first."""
    parser.add_argument(
        "--fit",
        action="store_true",
        help="first train and evaluate what is missing, under the names of nfvae fit; other arguments go to fit",
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", help="random seeds to train each config with (default: the seed in the config)"
    )
    parser.add_argument(
        *("-c", "--config"),
        type=Path,
        action="append",
        help="config that each compared config is added to; can be repeated (default: configs/mnist.yaml)",
    )
    parser.add_argument("--root", type=Path, default=Path("runs"), help="folder of the trained runs (default: runs)")


def _results(options: Namespace, fit_arguments: list[str]) -> list[Result]:
    """Read the results; with --fit, first train and evaluate what is missing."""
    evaluations = evaluation_settings(options)
    entries = [entry for source in options.runs for entry in _entries(source, options, fit_arguments)]
    _check_before_training(entries, options, evaluations)
    if options.fit and entries:
        found: dict[Path, list[dict[str, Any]]] = {_path(entry): [] for entry in entries}
        try:
            run_all({_path(entry): partial(_complete, entry, evaluations, found[_path(entry)]) for entry in entries})
        finally:  # finished evaluations are shown even if another run has diverged
            for summaries in zip(*filter(None, found.values()), strict=True):  # by estimator
                show([*summaries])
    runs = [entry if isinstance(entry, Run) else Run(entry.folder.path) for entry in entries]
    once = {run.path.resolve(): run for run in runs}.values()
    results = [read_result(run, evaluations) for run in once]
    return results + read_wandb(options.wandb, evaluations) if options.wandb else results


def _path(entry: Plan | Run) -> Path:
    return entry.folder.path if isinstance(entry, Plan) else entry.path


def _complete(entry: Plan | Run, evaluations: list[EvaluationSettings], found: list[dict[str, Any]]) -> None:
    """Train and evaluate a run where needed, and put the summary of each evaluation into `found`."""
    if isinstance(entry, Plan):
        _train(entry)
    torch.set_float32_matmul_precision("highest")
    found[:] = evaluate([Run(_path(entry))], evaluations, evaluation_trainer())


def _is_config(source: Path) -> bool:
    return source.suffix in (".yaml", ".yml")


def _entries(source: Path, options: Namespace, fit_arguments: list[str]) -> list[Plan | Run]:
    """Return a run itself, or the trainings of a config, one per seed."""
    if not _is_config(source):
        return [Run(source)]
    return list(_plans([*(options.config or [_BASE]), source], options, fit_arguments))


def _check_before_training(
    entries: list[Plan | Run], options: Namespace, evaluations: list[EvaluationSettings]
) -> None:
    """Raise now the errors that would otherwise come after hours of training."""
    check_columns(options.sort, options.columns, bool(options.baseline))
    plans = [entry for entry in entries if isinstance(entry, Plan)]
    for plan in plans:
        for other in plans:
            if plan.folder.path == other.folder.path and _outcome(plan.settings) != _outcome(other.settings):
                raise ValueError(f"two configs name their runs {plan.folder.path}: write a `name:` into one of them")
        if options.fit:
            _check_trainable(plan, plans)
            _check_evaluable(plan, evaluations[0].dataset)
    for run in [entry for entry in entries if isinstance(entry, Run)]:
        if not run.checkpoint["state_dict"]:
            for settings in evaluations:
                read_summary(run, settings)  # raises if the evaluation is missing, because it cannot be made now
    if entries and options.baseline and " " not in options.baseline and not options.wandb:
        _chosen(pool([_planned(entry) for entry in entries]), options.baseline)


def _planned(entry: Plan | Run) -> Result:
    """Return an empty result that identifies the experiment of a run or of a training."""
    settings = entry.settings if isinstance(entry, Plan) else settings_of(entry)
    return planned_result(entry.folder.path, settings["model"] | settings["data"], settings["seed_everything"])


def _check_trainable(plan: Plan, plans: list[Plan]) -> None:
    """Refuse a run that was trained with other settings, or a training that could not begin."""
    needed = {str(plan.settings["model"].get(name)) for name in ("teacher", "start")}
    if plan.folder.is_trained:
        _check_same_settings(plan)
    elif not needed & {str(other.folder.path) for other in plans}:  # else it needs a run that is trained before it
        try:
            copy(plan).check()  # a copy: training builds the model anew, from its seed
        except (ValueError, OSError) as error:
            raise ValueError(f"{plan.folder.path}: {error}") from error


def _check_evaluable(plan: Plan, dataset: str | None) -> None:
    """Refuse to evaluate on images whose shape differs from the training's."""
    if dataset is None:
        return
    spec, other = plan.data.spec, type(plan.data)(**plan.settings["data"] | {"dataset": dataset}).spec
    if other != spec:
        raise ValueError(
            f"{plan.folder.path} is trained on {spec.noun} of shape {spec}; those of {dataset} have {other}: "
            "--data.dataset says what is evaluated, and a config what is trained on"
        )


def _plans(configs: list[Path], options: Namespace, fit_arguments: list[str]) -> list[Plan]:
    """Return the trainings of a config, one per seed; if it sets a name, other seeds are appended to that."""
    words = [word for config in configs for word in ("-c", str(config))]
    words += ["--trainer.default_root_dir", str(options.root), *fit_arguments]
    plain = Plan(words)
    own, name = plain.settings["seed_everything"], plain.namespace["name"]
    plans = []
    for seed in options.seeds or [own]:
        named = ["--name", f"{name}-seed{seed}"] if name else []
        plans.append(plain if seed == own else Plan([*words, "--seed_everything", str(seed), *named]))
    return plans


def _train(plan: Plan) -> None:
    """Train a run, resume an interrupted one, or skip a finished one."""
    if plan.folder.is_trained:
        if plan.is_finished:
            return
        plan = Plan(["--ckpt_path", str(plan.folder.last)])
    print(f"training {plan.folder.path}")
    try:
        fit(plan)
    finally:  # the next training starts its own wandb run
        finish()


def _check_same_settings(plan: Plan) -> None:
    """Refuse an existing run in the plan's folder that was trained with other settings or data."""
    check_same_data(Run(plan.folder.path), plan.data)
    saved, wanted = _outcome(plan.folder.settings()), _outcome(plan.settings)
    for key in sorted(saved.keys() | wanted.keys()):
        if saved.get(key) != wanted.get(key):
            raise ValueError(
                f"run {plan.folder.path} was trained with {key} {saved.get(key)}, and {wanted.get(key)} is set now: "
                "compare the run itself, or train under another --root"
            )


def _outcome(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that affect the outcome of a training."""
    flat = {name: settings.get(name) for name in ("task", "seed_everything")}
    for section in ("model", "data", "trainer"):
        flat |= {f"{section}.{key}": value or None for key, value in (settings.get(section) or {}).items()}
    return {key: value for key, value in flat.items() if key.rpartition(".")[2] not in _MAY_DIFFER}


def _chosen(experiments: list[Experiment], name: str | None) -> Experiment | None:
    if name is None:
        return None
    called = [experiment for experiment in experiments if experiment.is_called(name)]
    if len(called) > 1:
        names = ", ".join(repr(each.name) for each in called)
        raise ValueError(f"several experiments are called {name}; give one of the names {names}")
    if not called:
        raise ValueError(unknown("baseline", name, [experiment.name for experiment in experiments]))
    return called[0]


def _evaluations(summary: dict[str, Any]) -> str:
    """Describe the evaluations that are compared."""
    return of_its_data(f"{described_images(summary)}, {described(summary)}, seed {summary['seed']}", summary)
