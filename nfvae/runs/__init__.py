"""Trained runs: evaluate, compare, tabulate and track them."""

from nfvae.runs.comparison import (
    Experiment,
    check_comparable,
    comparison_table,
    experiment_names,
    nll_difference,
    pool,
)
from nfvae.runs.densities import density_table, draw_seconds
from nfvae.runs.evaluation import Evaluation
from nfvae.runs.folder import RunFolder, experiment_name, run_name
from nfvae.runs.results import Result, read_result, read_wandb, unread_result
from nfvae.runs.run import Run
from nfvae.runs.settings import EvaluationSettings
from nfvae.runs.tables import Table

__all__ = [
    "Evaluation",
    "EvaluationSettings",
    "Experiment",
    "Result",
    "Run",
    "RunFolder",
    "Table",
    "check_comparable",
    "comparison_table",
    "density_table",
    "draw_seconds",
    "experiment_name",
    "experiment_names",
    "nll_difference",
    "pool",
    "read_result",
    "read_wandb",
    "run_name",
    "unread_result",
]
