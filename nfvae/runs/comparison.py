"""Experiments side by side: runs pooled over seeds, and how they differ image by image."""

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nfvae.registry import check_choice
from nfvae.runs.columns import columns as all_columns
from nfvae.runs.columns import estimator_settings, shown_columns
from nfvae.runs.estimators import ESTIMATORS, estimator_classes, estimator_label
from nfvae.runs.results import Result
from nfvae.runs.tables import Column, Table

_SAME_IMAGES = ("dataset", "binarization", "split", "images", "images_sha256")
_BY_NLL = ("nll", "gap", "bits_per_dim", "difference_mean")
_OF_RUNS = (
    "experiment",
    "flow",
    "depth",
    "seeds",
    "parameters",
    "epochs",
    "training_seconds",
    "epoch_seconds",
    "label",
    "images",
)
_DIFFERENCES = ["difference_mean", "difference_se_images", "difference_se_seeds"]


def check_comparable(results: Sequence[Result]) -> None:
    """Refuse runs that were not evaluated on the same images.

    Raises:
        ValueError: for different data sets, binarizations, splits, numbers of images, estimators or their sizes.
    """
    consequence = "they cannot be compared; --force compares them anyway"
    named = [(str(result.folder), result.summary) for result in results]
    estimated = [(name, summary) for name, summary in named if summary.get("estimator") != "exact"]
    check_same(named, _SAME_IMAGES, consequence)
    check_same(estimated, estimator_settings(), consequence)


def check_same(
    summaries: Sequence[tuple[str, Mapping[str, Any]]],
    keys: Sequence[str] = _SAME_IMAGES,
    consequence: str = "they cannot share a picture",
) -> None:
    """Refuse evaluations that differ in a value that must be equal.

    Args:
        summaries: summaries of the evaluations, with the name of each run.
        keys: names of the values that must be equal.
        consequence: consequence of a difference, for the message.

    Raises:
        ValueError: if such a value differs.
    """
    if not summaries:
        return
    name, first = summaries[0]
    for other, summary in summaries[1:]:
        for key in keys:
            if first.get(key) == summary.get(key):
                continue
            if key == "images_sha256":
                raise ValueError(f"{name} and {other} were evaluated on different data: {consequence}")
            raise ValueError(
                f"{name} was evaluated with {key} {first.get(key)}, {other} with {summary.get(key)}: {consequence}"
            )


class Experiment(NamedTuple):
    """Runs that differ only in their seed, under a name that distinguishes them from other experiments."""

    name: str
    results: list[Result]

    def mean(self, value: Callable[[Result], float]) -> float:
        """Return the mean over seeds of a function of a result."""
        return sum(map(value, self.results)) / len(self.results)

    def error(self, value: Callable[[Result], float]) -> float:
        """Return the standard error over seeds of a function of a result; NaN for one seed."""
        values = torch.tensor([value(result) for result in self.results], dtype=torch.float64)
        return float(values.std() / len(values) ** 0.5) if len(values) > 1 else math.nan

    def is_called(self, name: str) -> bool:
        """Return whether a name is that of the experiment, its flow, one of its runs, or a run's folder."""
        runs = {str(result.folder) for result in self.results} | {result.folder.name for result in self.results}
        return name in {self.name, self.results[0].settings["flow"]} or name.rstrip("/") in runs

    @property
    def log_likelihood(self) -> Tensor:
        """The log-likelihood of every image, averaged over seeds, with shape (N,)."""
        return torch.stack([result.log_likelihood for result in self.results]).mean(0)


def pool(results: Sequence[Result]) -> list[Experiment]:
    """Group runs that differ only in their seed into experiments.

    An experiment is named after its flow and depth, with `student` if it has a teacher, and after every setting that
    differs between experiments with the same three. Options of a role that only one of these has, such as the only flow
    prior, are left out. Runs with the same settings and the same seed are separated by their number of epochs. If that
    does not separate them, each run is an experiment of its own, named after its folder.
    """
    groups = _grouped(results, lambda result: json.dumps(result.settings, sort_keys=True))
    all_settings = [group[0].settings for group in groups]
    return [each for group in groups for each in _apart(_name(group[0].settings, all_settings), group)]


def experiment_names(results: Sequence[Result]) -> list[str]:
    """Return names for experiments of one run each; none if two runs have the same settings."""
    settings = [result.settings for result in results]
    if any(settings.count(each) > 1 for each in settings):
        return []
    return [_name(each, settings) for each in settings]


def _apart(name: str, group: list[Result]) -> list[Experiment]:
    """Split runs with the same settings into experiments."""
    if _has_own_seeds(group):
        return [Experiment(name, group)]
    by_epochs = _grouped(group, lambda result: len(result.history))
    if all(map(_has_own_seeds, by_epochs)):
        return [Experiment(f"{name} epochs={len(runs[0].history)}", runs) for runs in by_epochs]
    names = [result.folder.name for result in group]
    called = names if len(set(names)) == len(names) else [str(result.folder) for result in group]
    return [Experiment(f"{name} {own}", [result]) for own, result in zip(called, group, strict=True)]


def _grouped(results: Sequence[Result], key: Callable[[Result], Any]) -> list[list[Result]]:
    groups: dict[Any, list[Result]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return [*groups.values()]


def _has_own_seeds(runs: Sequence[Result]) -> bool:
    return len({result.seed for result in runs}) == len(runs)


def _name(settings: dict[str, Any], all_settings: list[dict[str, Any]]) -> str:
    alike = [other for other in all_settings if _kind(other) == _kind(settings)]
    own, others = _flat(settings), [_flat(other) for other in alike]
    differing = [path for path in own if any(other.get(path) != own[path] for other in others)]
    words = [f"{path[-1]}={own[path]}" for path in differing if not _is_implied(path[0], settings, alike)]
    flow, depth, is_student = _kind(settings)
    return " ".join([f"{flow}-{depth}", *(["student"] if is_student else []), *words])


def _kind(settings: Mapping[str, Any]) -> tuple[Any, Any, bool]:
    return settings["flow"], settings["depth"], "teacher" in settings


def _is_implied(name: str, settings: Mapping[str, Any], alike: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a setting is an option of a role that no other experiment has, such as the only flow prior."""
    role, option, _ = name.partition("_options")
    return bool(option) and sum(other.get(role) == settings.get(role) for other in alike) == 1


def _flat(settings: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Flatten nested settings; each key is the tuple of names that leads to a value."""
    flat: dict[tuple[str, ...], Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, (*path, key)) if isinstance(value, Mapping) else {(*path, key): value}
    return flat


class Difference(NamedTuple):
    """How much higher the NLL of one experiment is than another's, in nats per image.

    Attributes:
        mean: mean over images of the difference between each image's means over seeds.
        se_images: paired standard error of that mean over images.
        se_seeds: standard error over seeds; NaN if one of the two has a single seed.
    """

    mean: float
    se_images: float
    se_seeds: float


def nll_difference(experiment: Experiment, baseline: Experiment) -> Difference:
    """Compare two experiments image by image.

    Raises:
        ValueError: if the values of single images are unknown.
    """
    results = [*experiment.results, *baseline.results]
    if unknown := [str(result.folder) for result in results if not len(result.log_likelihood)]:
        raise ValueError(
            f"paired differences need the values of every image, and there are none of {', '.join(unknown)}: neither "
            "wandb nor an exported run holds them; where there are weights nfvae evaluate finds them anew"
        )
    paired = baseline.log_likelihood - experiment.log_likelihood
    seeds = [each.error(lambda result: float(result.log_likelihood.mean())) for each in (experiment, baseline)]
    return Difference(float(paired.mean()), float(paired.std() / len(paired) ** 0.5), math.hypot(*seeds))


def sortable(with_baseline: bool) -> list[str]:
    """Return the names of the numbers by which a comparison can be sorted."""
    return [*_OF_RUNS, *estimator_settings(), *_pooled(), *(_DIFFERENCES if with_baseline else [])]


def _pooled() -> list[str]:
    """Return the names of the numbers whose means over runs are compared, with their errors."""
    return [name for column in all_columns() if column.pooled for name in (column.key, column.error) if name]


def _showable(with_baseline: bool) -> list[Column]:
    """Return the columns of the numbers by which a comparison can be sorted, in order."""
    known = sortable(with_baseline)
    return [column for column in all_columns() if column.key in known]


def check_columns(sort: str, columns: Sequence[str], with_baseline: bool) -> None:
    """Refuse unknown numbers to sort by or to show.

    Raises:
        ValueError: for an unknown number.
    """
    check_choice("column", sort, sortable(with_baseline))
    shown_columns(columns, _showable(with_baseline))


def comparison_table(
    experiments: Sequence[Experiment],
    baseline: Experiment | None = None,
    sort: str = "nll",
    columns: Sequence[str] = (),
    caption: str = "",
) -> Table:
    """Summarize each experiment in a row of a table, in nats per image.

    Errors are over seeds if there are several, else over images.

    Args:
        experiments: experiments to compare.
        baseline: experiment whose NLL is subtracted from the others', image by image.
        sort: name of the number to sort by, the smallest shown value first.
        columns: names of the numbers to show, in this order; the main ones if empty, every one for `all`.
        caption: caption of a LaTeX table.

    Raises:
        ValueError: for an unknown number to sort by or to show, or one to show that no experiment has.
    """
    check_columns(sort, columns, baseline is not None)
    rows = [_row(experiment, baseline) for experiment in experiments]
    turned = any(column.key == sort and column.sign < 0 for column in all_columns())
    rows.sort(key=lambda row: (row.get(sort) is None, -row[sort] if turned and row.get(sort) else row.get(sort)))
    chosen = bool(columns) and "all" not in columns
    return Table(rows, _shown(rows, columns, baseline is not None), chosen, caption)


def _shown(rows: Sequence[Mapping[str, Any]], names: Sequence[str], with_baseline: bool) -> list[Column]:
    """Return the named columns; with several estimators, headings of columns from the first one name it."""
    for name in names:
        if name != "all" and all(row.get(name) is None for row in rows):
            raise ValueError(f"no evaluation that is compared has {name}")
    usual = not names or "all" in names
    requested = names if usual or not with_baseline else [*names, "difference_mean"]
    shown = shown_columns(requested, _showable(with_baseline))
    if not names and len({row["epochs"] for row in rows}) > 1:  # a comparison of unequal trainings says so
        shown.insert(1, next(column for column in _showable(with_baseline) if column.key == "epochs"))
    if not any(row[f"nll_{name}"] is not None for row in rows for name in estimator_classes("compare")):
        return shown
    estimators = rows[0]["estimator"]
    shown = [column for column in shown if column.key != "nll"] if usual else shown
    return [_of_first(column, estimators) if column.key in _BY_NLL else column for column in shown]


def verdict(experiments: Sequence[Experiment], baseline: Experiment | None) -> list[str]:
    """Say in paragraphs which differences from the baseline are clear, what ± means, and how accurate the NLLs are."""
    summaries = [result.summary for each in experiments for result in each.results]
    name = summaries[0]["estimator"].partition(", ")[0]
    alike = [summary for summary in summaries if summary["estimator"].partition(", ")[0] == name]
    several = any(len(each.results) > 1 for each in experiments)
    over = "over seeds in rows with several seeds, else over images" if several else "over images"
    notes = [f"± is the standard error {over}{', and over images for the difference' if several and baseline else ''}."]
    for each in experiments:
        if len(lengths := {len(result.history) for result in each.results}) > 1:
            notes.append(f"Careful: the seeds of {each.name} had {min(lengths)} to {max(lengths)} epochs.")
    notes.append(ESTIMATORS.load(name).verdict(alike))
    compared = [] if baseline is None or len(experiments) == 1 else [_of_differences(experiments, baseline)]
    return [*compared, " ".join(notes)]


def _of_differences(experiments: Sequence[Experiment], baseline: Experiment) -> str:
    """Group experiments by their difference from the baseline, against two standard errors."""
    differences = {each.name: nll_difference(each, baseline) for each in experiments if each is not baseline}
    groups: dict[str, list[str]] = {"lower": [], "higher": [], "not clear": []}
    for name, difference in differences.items():
        error = math.hypot(difference.se_images, 0 if math.isnan(difference.se_seeds) else difference.se_seeds)
        clear = abs(difference.mean) > 2 * error
        groups["not clear" if not clear else "lower" if difference.mean < 0 else "higher"].append(name)
    found = "; ".join(f"{group}: {', '.join(names)}" for group, names in groups.items() if names)
    one = any(math.isnan(difference.se_seeds) for difference in differences.values())
    caution = " Some rows have one seed; other seeds may change the order." if one else ""
    return (
        f"NLL compared with {baseline.name}: {found}. (Clear: by more than two standard errors, those over images and "
        f"over seeds combined.){caution}"
    )


def _of_first(column: Column, estimators: str) -> Column:
    """Add the first of several estimators to the heading of a column that depends on its NLL alone."""
    what, *unit = column.heading.split(", ")
    return column._replace(heading=", ".join([what, estimators.partition(", ")[0], *unit]))


def _row(experiment: Experiment, baseline: Experiment | None) -> dict[str, Any]:
    first, several = experiment.results[0], len(experiment.results) > 1

    def mean(name: str) -> float | None:
        values: list[Any] = [result.summary.get(name) for result in experiment.results]
        if None in values:
            return None
        total = sum(values)
        return total // len(values) if isinstance(total, int) and total % len(values) == 0 else total / len(values)

    def error(name: str) -> float | None:
        if several and name in first.summary:
            return experiment.error(lambda result: result.summary[name])
        return first.summary.get(f"{name}_se")

    trained = all(result.history for result in experiment.results)
    row: dict[str, Any] = {
        "experiment": experiment.name,
        **{name: first.settings[name] for name in ("flow", "depth")},
        "seeds": len(experiment.results),
        "parameters": first.summary.get("parameters"),
        "epochs": experiment.mean(lambda result: len(result.history)) if trained else None,
        "training_seconds": experiment.mean(lambda result: sum(_seconds(result))) if trained else None,
        "epoch_seconds": experiment.mean(lambda result: statistics.median(_seconds(result))) if trained else None,
        "label": estimator_label(first.summary),
        **{name: first.summary.get(name) for name in ("images", *estimator_settings())},
        **{name: error(name.removesuffix("_se")) if name.endswith("_se") else mean(name) for name in _pooled()},
    }
    if baseline is not None:
        own = Difference(math.nan, math.nan, math.nan)
        named = (own if experiment is baseline else nll_difference(experiment, baseline))._asdict()
        row |= {f"difference_{key}": None if math.isnan(value) else value for key, value in named.items()}
    return row


def _seconds(result: Result) -> list[float]:
    return [epoch.get("seconds", math.nan) for epoch in result.history]
