"""Runs side by side: what each reached, pooled over seeds, and how they differ image by image."""

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nfvae.density import draw_seconds
from nfvae.evaluation import HEAVY, evaluation_path
from nfvae.runs import Run, data_settings

FORMATS = ("table", "markdown", "csv", "json", "latex")
_NOT_THE_EXPERIMENT = {"seed", "root", "download", "val_samples", "test_samples", "eval_batch_size", "compile"}
_MUST_AGREE = ("dataset", "binarization", "split", "images", "samples")
_DRAWS = 100  # posterior draws of each of as many images that are timed


class Result(NamedTuple):
    """What one run reached.

    Attributes:
        folder: the run's folder, or its name.
        settings: hyperparameters of model and data that tell one experiment from another; the seed is none of them.
        parameters: how many the model has; None where that is not known.
        draw_seconds: for 100 posterior draws of each of 100 images; None where that is not known.
        summary: of the evaluation, as its JSON file has it.
        log_likelihood: of every image, float64 with shape (N,), in nats; empty where that is not known.
        history: the metrics of each epoch, by name.
    """

    folder: Path
    settings: dict[str, Any]
    parameters: int | None
    draw_seconds: float | None
    summary: dict[str, Any]
    log_likelihood: Tensor
    history: list[dict[str, float]]


def read_result(folder: Path, split: str = "test", samples: int = 5000) -> Result:
    """Read what a run and its evaluation have left.

    Raises:
        FileNotFoundError: if there is no such run, checkpoint or evaluation.
        ValueError: if the checkpoint is no VAE's, or damaged.
    """
    run = Run(folder)
    summary, path = read_summary(run, split, samples), evaluation_path(folder, split, samples).with_suffix(".csv")
    model, pixels = run.module().model, run.hparams["pixels"]
    settings = run.hparams | data_settings(run.checkpoint)
    with path.open(newline="") as file:
        values = [float(row["log_likelihood"]) for row in csv.DictReader(file)]
    return Result(
        folder,
        _telling(settings),
        sum(parameter.numel() for parameter in model.parameters()),
        draw_seconds(model.posterior(torch.zeros(_DRAWS, pixels)), 1, _DRAWS),
        summary,
        torch.tensor(values, dtype=torch.float64),
        history(folder / "metrics.csv"),
    )


def read_wandb(project: str, split: str = "test", samples: int = 5000) -> list[Result]:
    """Read the runs of a wandb project, ENTITY/PROJECT, that hold an evaluation; without values of single images.

    Raises:
        ValueError: if wandb cannot be asked, or knows no such run.
    """
    import wandb

    try:
        runs = list(wandb.Api().runs(project))
    except Exception as error:  # no account, no network, no such project
        raise ValueError(f"cannot read {project} from wandb: {error}") from error
    results = [_from_wandb(run, split) for run in runs if run.summary.get(f"{split}/samples") == samples]
    if not results:
        raise ValueError(f"no run of {project} holds an evaluation of {samples} samples on {split}")
    return results


def _from_wandb(run: Any, split: str) -> Result:
    summary = {key.partition("/")[2]: value for key, value in run.summary.items() if key.startswith(f"{split}/")}
    return Result(
        Path(run.name),
        _telling(run.config["model"] | run.config["data"]),
        None,
        None,
        summary,
        torch.empty(0, dtype=torch.float64),
        [row for row in run.scan_history() if row.get("seconds") is not None],
    )


def _telling(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in _NOT_THE_EXPERIMENT and name[0] != "_"}


def read_summary(run: Run, split: str = "test", samples: int = 5000) -> dict[str, Any]:
    """Read what an evaluation of a run found.

    Raises:
        FileNotFoundError: if there is no such evaluation.
    """
    path = evaluation_path(run.folder, split, samples)
    if not path.is_file():
        command = f"nfvae evaluate {run.folder} --split {split} --samples {samples}"
        raise FileNotFoundError(f"run {run.folder} has no such evaluation: {command}")
    summary: dict[str, Any] = json.loads(path.read_text())
    return summary


def history(path: Path) -> list[dict[str, float]]:
    """Read the epochs' rows of a metrics.csv; none where training wrote no such file."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    return [row for row in rows if "seconds" in row]


def check_comparable(results: Sequence[Result]) -> None:
    """Refuse runs that were not evaluated on the same images.

    Raises:
        ValueError: for different data sets, binarizations, splits, numbers of images or of samples.
    """
    first = results[0]
    for result in results[1:]:
        for key in _MUST_AGREE:
            if result.summary[key] != first.summary[key]:
                raise ValueError(
                    f"{first.folder} was evaluated with {key} {first.summary[key]}, {result.folder} with "
                    f"{result.summary[key]}: they do not compare; --force does it all the same"
                )


class Experiment(NamedTuple):
    """Runs that differ in their seeds alone, under a name that tells them from the others."""

    name: str
    results: list[Result]

    def mean(self, value: Callable[[Result], float]) -> float:
        """Return the mean over seeds of a function of a result."""
        return sum(map(value, self.results)) / len(self.results)

    def error(self, value: Callable[[Result], float]) -> float:
        """Return the standard error over seeds of a function of a result; NaN for one seed."""
        values = torch.tensor([value(result) for result in self.results], dtype=torch.float64)
        return float(values.std() / len(values) ** 0.5) if len(values) > 1 else math.nan

    @property
    def log_likelihood(self) -> Tensor:
        """Mean over the seeds of every image's log-likelihood, with shape (N,)."""
        return torch.stack([result.log_likelihood for result in self.results]).mean(0)


def pool(results: Sequence[Result]) -> list[Experiment]:
    """Put together the runs that differ in their seed alone.

    An experiment is named by flow and depth, and by whatever else differs between experiments of the same two.
    """
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(json.dumps(result.settings, sort_keys=True), []).append(result)
    all_settings = [group[0].settings for group in groups.values()]
    return [Experiment(_name(group[0].settings, all_settings), group) for group in groups.values()]


def _name(settings: dict[str, Any], all_settings: list[dict[str, Any]]) -> str:
    alike = [other for other in all_settings if all(other[key] == settings[key] for key in ("flow", "depth"))]
    differing = [key for key in settings if any(other.get(key) != settings[key] for other in alike)]
    return " ".join([f"{settings['flow']}-{settings['depth']}", *(f"{key}={settings[key]}" for key in differing)])


class Difference(NamedTuple):
    """How much higher the NLL of one experiment is than another's, in nats per image.

    Attributes:
        mean: over images, of each image's difference of means over seeds.
        se_images: standard error of that over images, paired.
        se_seeds: standard error over seeds; NaN where one of the two has a single seed.
    """

    mean: float
    se_images: float
    se_seeds: float


def nll_difference(one: Experiment, other: Experiment) -> Difference:
    """Compare two experiments image by image.

    Raises:
        ValueError: if the values of single images are not known.
    """
    if not len(one.log_likelihood) or not len(other.log_likelihood):
        raise ValueError("paired differences need the values of every image, which wandb does not hold")
    paired = other.log_likelihood - one.log_likelihood
    seeds = [each.error(lambda result: float(result.log_likelihood.mean())) for each in (one, other)]
    return Difference(float(paired.mean()), float(paired.std() / len(paired) ** 0.5), math.hypot(*seeds))


def rows(experiments: Sequence[Experiment], baseline: Experiment | None = None) -> list[dict[str, Any]]:
    """Sum up each experiment in numbers by name, in nats per image; None is what cannot be said.

    Errors are over seeds where there are several, else over images.
    """
    return [_row(experiment, baseline) for experiment in experiments]


def _row(experiment: Experiment, baseline: Experiment | None) -> dict[str, Any]:
    first, several = experiment.results[0], len(experiment.results) > 1

    def mean(name: str) -> float | None:
        values = [result.summary[name] for result in experiment.results]
        return None if None in values else sum(values) / len(values)

    def error(name: str) -> float | None:
        if several:
            return experiment.error(lambda result: result.summary[name])
        return first.summary[f"{name}_se"]  # type: ignore[no-any-return]

    row: dict[str, Any] = {
        "experiment": experiment.name,
        "flow": first.settings["flow"],
        "depth": first.settings["depth"],
        "seeds": len(experiment.results),
        "parameters": first.parameters,
        "epochs": experiment.mean(lambda result: len(result.history)),
        "seconds": experiment.mean(lambda result: sum(epoch["seconds"] for epoch in result.history)),
        "elbo": mean("elbo"),
        "elbo_se": error("elbo"),
        "nll": mean("nll"),
        "nll_se": error("nll"),
        "gap": mean("gap"),
        "ess": mean("ess_median"),
        "khat_above_0_7": mean("khat_above_0_7"),
        "active_units": mean("active_units"),
        "draw_ms": None
        if first.draw_seconds is None
        else 1000 * experiment.mean(lambda result: result.draw_seconds or 0),
    }
    if baseline is not None:
        named = nll_difference(experiment, baseline)._asdict() if experiment is not baseline else {}
        row |= {f"difference_{key}": None if math.isnan(value) else value for key, value in named.items()}
    return row


# what a table shows: heading, name of the number, its digits, and the name of its error
_COLUMNS: list[tuple[str, str, int | None, str | None]] = [
    ("experiment", "experiment", None, None),
    ("seeds", "seeds", 0, None),
    ("parameters", "parameters", 0, None),
    ("epochs", "epochs", 0, None),
    ("seconds", "seconds", 0, None),
    ("-ELBO", "elbo", 2, "elbo_se"),
    ("NLL", "nll", 2, "nll_se"),
    ("gap", "gap", 2, None),
    ("ESS", "ess", 1, None),
    (f"k̂ > {HEAVY}", "khat_above_0_7", 2, None),
    ("active", "active_units", 1, None),
    ("draws, ms", "draw_ms", 1, None),
    ("NLL - baseline's", "difference_mean", 3, "difference_se_images"),
    ("± seeds", "difference_se_seeds", 3, None),
]


def layout(table: Sequence[dict[str, Any]], form: str = "table") -> str:
    """Lay out what `rows` gives as `table`, `markdown`, `csv`, `json` or `latex`."""
    if form == "json":
        return json.dumps(list(table), indent=2)
    if form == "csv":
        out = io.StringIO()
        writer = csv.DictWriter(out, list(dict.fromkeys(key for row in table for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
        return out.getvalue().rstrip()
    columns = [column for column in _COLUMNS if any(row.get(column[1]) is not None for row in table)]
    cells = [[column[0] for column in columns], *([_cell(row, *column[1:]) for column in columns] for row in table)]
    if form == "latex":
        return _latex(cells)
    widths = [max(len(line[place]) for line in cells) if form == "table" else 0 for place in range(len(columns))]
    lines = [" | ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
    rule = "|".join("-" * (width + 2) if width else "---" for width in widths)
    return "\n".join([f"| {lines[0]} |", f"|{rule}|", *(f"| {line} |" for line in lines[1:])])


def _cell(row: dict[str, Any], name: str, digits: int | None, error: str | None) -> str:
    value = row.get(name)
    if value is None or digits is None:
        return "" if value is None else str(value)
    text = f"{-value if name == 'elbo' else value:,.{digits}f}"
    deviation = row.get(error) if error else None
    return text if deviation is None else f"{text} ± {deviation:.{digits}f}"


def _latex(cells: list[list[str]]) -> str:
    def escaped(cell: str) -> str:
        text = cell.replace("_", r"\_").replace("%", r"\%").replace("±", r"$\pm$").replace("k̂ >", r"$\hat k >$")
        return text.replace("{", r"\{").replace("}", r"\}") if "$" not in text else text

    lines = [" & ".join(map(escaped, line)) + r" \\" for line in cells]
    spec = "l" + "r" * (len(cells[0]) - 1)
    return "\n".join(
        [rf"\begin{{tabular}}{{{spec}}}", r"\hline", lines[0], r"\hline", *lines[1:], r"\hline", r"\end{tabular}"]
    )
