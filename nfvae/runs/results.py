"""Results of a run, read from its folder or from wandb."""

from collections import ChainMap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nfvae.runs.evaluation import SHORT_DIGEST, read_evaluation, read_values
from nfvae.runs.folder import wandb_name
from nfvae.runs.run import Run
from nfvae.runs.settings import DEFAULT, EvaluationSettings

_NOT_THE_EXPERIMENT = {"seed", "root", "download", "val_samples", "test_samples", "eval_batch_size", "compile"}
_UNKNOWN = torch.empty(0, dtype=torch.float64)


class Result(NamedTuple):
    """The results of one run.

    Attributes:
        folder: folder of the run, or its name.
        settings: hyperparameters of model and data that distinguish experiments, without the seed.
        seed: random seed of weights, order and samples; None if unknown.
        summary: summary of the evaluation, as in its JSON file.
        log_likelihood: log-likelihood of every image in nats, float64 with shape (N,); empty if unknown.
        history: metrics of each epoch, by name.
    """

    folder: Path
    settings: dict[str, Any]
    seed: int | None
    summary: dict[str, Any]
    log_likelihood: Tensor
    history: list[dict[str, float]]


def read_result(run: Run, evaluations: Sequence[EvaluationSettings] = (DEFAULT,)) -> Result:
    """Read the results of a run: its first evaluation, with the NLL of the others added.

    Raises:
        FileNotFoundError: if an evaluation does not exist.
        ValueError: if the run is damaged.
    """
    first, *others = (read_summary(run, settings) for settings in evaluations)
    values = evaluations[0].path(run).with_suffix(".csv")
    return unread_result(run)._replace(
        summary=_with_others(first, others),
        log_likelihood=read_values(values)["log_likelihood"] if values.is_file() else _UNKNOWN,
        history=run.folder.history(),
    )


def planned_result(folder: Path, settings: dict[str, Any], seed: int | None) -> Result:
    """Return an empty result that identifies the experiment of a run still to be trained.

    Args:
        folder: folder of the run.
        settings: hyperparameters of model and data.
        seed: random seed of weights, order and samples.
    """
    return Result(folder, _experiment_settings(settings), seed, {}, _UNKNOWN, [])


def unread_result(run: Run) -> Result:
    """Return an empty result that identifies the experiment of a run."""
    settings = _experiment_settings(run.settings | run.data_settings, run.data_digest)
    return Result(run.shown, settings, run.data_settings.get("seed"), {}, _UNKNOWN, [])


def read_summary(run: Run, settings: EvaluationSettings = DEFAULT) -> dict[str, Any]:
    """Read the summary of an evaluation of a run.

    Raises:
        FileNotFoundError: if the evaluation does not exist.
        ValueError: if it is damaged, or belongs to another checkpoint.
    """
    settings = settings.of_run(run)
    command = settings.command(run.shown)
    path = settings.path(run)
    try:
        summary = read_evaluation(path)
    except FileNotFoundError as error:
        others = ", ".join(run.folder.evaluations())
        names = [*settings.estimator.arguments, "limit", "seed"]
        choices = f"{', '.join(f'--{name}' for name in names[:-1])} and --{names[-1]} choose"
        there = f"; there is {others} ({choices})" if others else ""
        how = f": {command}" if run.checkpoint["state_dict"] else ", and was exported without the weights for one"
        raise FileNotFoundError(f"run {run.folder.path} has no {path.stem}{how}{there}") from error
    except ValueError as error:
        raise ValueError(f"{error}: {command}") from error
    if summary["model_sha256"] != run.digest():
        raise ValueError(f"the evaluation of {run.folder.path} is of another checkpoint than {run.path}: {command}")
    return summary


def read_wandb(project: str, evaluations: Sequence[EvaluationSettings] = (DEFAULT,)) -> list[Result]:
    """Read the evaluated runs of a wandb project, ENTITY/PROJECT, which lack the values of single images.

    Raises:
        ValueError: if wandb cannot be reached, or has no such run.
    """
    import wandb

    try:
        runs = list(wandb.Api().runs(project))
    except Exception as error:  # no account, no network, no such project
        raise ValueError(f"cannot read {project} from wandb: {error}") from error
    results = [result for run in runs if (result := _from_wandb(run, evaluations))]
    if not results:
        settings = ", ".join(each.arguments() or "the default settings" for each in evaluations)
        raise ValueError(f"no run of {project} holds an evaluation with {settings}")
    return results


def _from_wandb(run: Any, evaluations: Sequence[EvaluationSettings]) -> Result | None:
    if not {"model", "data"} <= run.config.keys():
        return None
    prefixes = [wandb_name(settings.name(run.config["data"], "best")) + "/" for settings in evaluations]
    if any(run.summary.get(f"{prefix}nll") is None for prefix in prefixes):
        return None
    first, *others = (
        {key.removeprefix(prefix): value for key, value in run.summary.items() if key.startswith(prefix)}
        for prefix in prefixes
    )
    return Result(
        Path(run.name),
        _experiment_settings(run.config["model"] | run.config["data"], first.get("data_sha256")),
        run.config.get("seed_everything"),
        _with_others(first, others),
        _UNKNOWN,
        [row for row in run.scan_history() if row.get("seconds") is not None],
    )


def _with_others(summary: dict[str, Any], others: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Merge summaries, with each NLL also under its estimator's name.

    If several summaries have the same key, the first one's value is kept.
    """
    several = [summary, *others] if others else []
    names = {f"nll_{each['estimator']}{of}": each[f"nll{of}"] for each in several for of in ("", "_se")}
    return {**ChainMap(summary, *others), **names} | {
        "estimator": ", ".join(each["estimator"] for each in [summary, *others])
    }


def _experiment_settings(settings: dict[str, Any], digest: str | None = None) -> dict[str, Any]:
    """Return the settings that distinguish experiments, with the options of a role beside the other settings.

    The digest of the data distinguishes runs on data of the same name but different content.
    """
    telling = {
        name: value
        for name, value in settings.items()
        if name not in _NOT_THE_EXPERIMENT and name[0] != "_" and value is not None
    }
    flat = {name: value for name, value in telling.items() if not name.endswith("_options")}
    for role in telling.keys() - flat.keys():
        flat |= {f"{role}.{name}": value for name, value in telling[role].items()}
    return dict(sorted(flat.items())) | ({"data": digest[:SHORT_DIGEST]} if digest else {})
