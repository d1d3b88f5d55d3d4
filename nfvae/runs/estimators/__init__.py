"""The estimators of a likelihood as evaluations use them. Adding one is a file beside this one and a line here."""

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
        "gap": "nfvae.runs.estimators.gap:Gap",
    },
)


def estimator_classes(command: str = "") -> dict[str, type[Estimator]]:
    """Return the registered classes by name: those of a command, `compare` for those whose NLLs are compared."""
    classes = {name: ESTIMATORS.load(name) for name in ESTIMATORS}
    return {name: each for name, each in classes.items() if not command or command in each.commands}


def estimator_of(summary: Mapping[str, Any], name: str) -> Estimator:
    """Return an estimator by its name, with the settings that the summary of an evaluation has."""
    kind = ESTIMATORS.load(name)
    return kind(**{name: summary[name] for name in kind.defaults() if name in summary})


def estimator_label(summary: Mapping[str, Any]) -> str:
    """Return the estimators of a summary with their sizes, such as `annealed 4x200`."""
    estimators = [estimator_of(summary, name) for name in summary["estimator"].split(", ")]
    return ", ".join(" ".join([each.name, each.size(), *each.qualifiers()]) for each in estimators)
