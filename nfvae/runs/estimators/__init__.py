"""Likelihood estimators for evaluations. To add one, write a file beside this one and add a line here."""

from collections.abc import Mapping
from typing import Any

from nfvae.registry import Registry
from nfvae.runs.estimators.base import Argument, Estimator, Images, Summary

__all__ = [
    "ESTIMATORS",
    "Argument",
    "Estimator",
    "Images",
    "Summary",
    "estimator_classes",
    "estimator_label",
    "estimator_of",
]

ESTIMATORS = Registry(
    "estimator",
    Estimator,  # type: ignore[type-abstract]
    {
        "importance": "nfvae.runs.estimators.importance:Importance",
        "annealed": "nfvae.runs.estimators.annealed:Annealed",
        "sandwich": "nfvae.runs.estimators.sandwich:Sandwich",
        "exact": "nfvae.runs.estimators.exact:Exact",
        "gap": "nfvae.runs.estimators.gap:Gap",
    },
)


def estimator_classes(command: str = "") -> dict[str, type[Estimator]]:
    """Return the registered classes by name, or those that a command offers for VAEs."""
    classes = {name: ESTIMATORS.load(name) for name in ESTIMATORS}
    if not command:
        return classes
    return {name: each for name, each in classes.items() if command in each.commands and "vae" in each.kinds}


def estimator_of(summary: Mapping[str, Any], name: str) -> Estimator:
    """Return an estimator by name, with its settings from the summary of an evaluation."""
    kind = ESTIMATORS.load(name)
    return kind(**{name: summary[name] for name in kind.defaults() if name in summary})


def estimator_label(summary: Mapping[str, Any]) -> str:
    """Return the estimators of a summary with their sizes, such as `annealed 4x200`."""
    estimators = [estimator_of(summary, name) for name in summary["estimator"].split(", ")]
    return ", ".join(" ".join([each.name, each.size(), *each.qualifiers()]).rstrip() for each in estimators)
