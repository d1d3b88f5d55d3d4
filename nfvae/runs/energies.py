"""Normalizers of the unnormalized densities that flows were fitted to."""

import json
import math
from collections.abc import Mapping
from typing import Any

import torch

from nfvae.estimators import anneal, importance_normalizer
from nfvae.flows import FlowDistribution
from nfvae.registry import check_number
from nfvae.runs.files import read_json, write_whole
from nfvae.runs.run import Run
from nfvae.runs.tables import Column
from nfvae.targets import LogDensity, load_target

_GRID_REACH, _GRID_SIDE = 12.0, 1_500  # of the quadrature in one or two dimensions
_LARGEST_AT_EDGE = -6.0  # log-density at the edge of the grid beside its largest, in nats
_FAR = 4  # standard errors between two estimates that cannot both be right
COLUMNS = [
    Column("run", "run", names=True, main=True),
    Column("target", "target", main=True),
    Column("log_z", "log Z, importance", 3, "log_z_se"),
    Column("ess", "ESS", 1, percent=True),
    Column("log_z_annealed", "log Z, annealed", 3, "log_z_annealed_se"),
    Column("log_z_exact", "log Z, quadrature", 3),
    Column("kl", "KL(q, p), nats", 3, "kl_se", lower=True),
]


def read_target(run: Run) -> LogDensity:
    """Return the log-density that a run was fitted to.

    Raises:
        ValueError: for a run of another task.
    """
    if run.task != "energy":
        raise ValueError(f"run {run.folder.path} was fitted to data, not to a log-density")
    return load_target(run.settings["target"])


def evaluate_energy(run: Run, samples: int, chains: int, temperatures: int, seed: int) -> dict[str, Any]:
    """Estimate log Z of a run's log-density, and the divergence of its flow; written beside the run as energy.json.

    Args:
        run: a run of the task `energy`.
        samples: number of importance samples.
        chains: number of annealed chains.
        temperatures: number of temperatures per chain.
        seed: random seed.

    Raises:
        ValueError: for fewer than two samples, or a run of another task.
    """
    check_number("--samples", samples, least=2)
    sizes = {"samples": samples, "chains": chains, "temperatures": temperatures}
    identity = {"model_sha256": run.digest(), **sizes, "seed": seed}
    path = run.folder.report("energy")
    if path.is_file() and identity.items() <= (done := read_json(path)).items():
        return done
    target, density = read_target(run), run.density()()
    importance = importance_normalizer(target, density, samples, seed=seed)
    annealed = anneal(target, density, chains, temperatures, seed=seed)
    free_energy, error = _free_energy(target, density, samples, seed)
    exact = quadrature(target, run.spec.size)
    best = float(annealed.log_normalizer) if exact is None else exact
    summary = identity | {
        "target": run.settings["target"],
        "log_z": float(importance.log_normalizer),
        "log_z_se": float(importance.standard_error),
        "ess": float(importance.ess) / samples,
        "log_z_annealed": float(annealed.log_normalizer),
        "log_z_annealed_se": float(annealed.standard_error),
        "log_z_exact": exact,
        "kl": free_energy + best,
        "kl_se": error,
    }
    write_whole(path, json.dumps(summary, indent=2) + "\n")
    return summary


def quadrature(log_density: LogDensity, features: int) -> float | None:
    """Return log Z by a grid over one or two dimensions, up to 12 from the origin.

    None in more dimensions, or where the density at the edge of the grid shows that it reaches beyond.
    """
    if features > 2:
        return None
    line = torch.linspace(-_GRID_REACH, _GRID_REACH, _GRID_SIDE, dtype=torch.float64)
    step = math.log(2 * _GRID_REACH / (_GRID_SIDE - 1))
    grid = torch.cartesian_prod(*[line] * features).view(-1, features)
    values = log_density(grid)
    at_edge = values[(grid.abs() == _GRID_REACH).any(-1)]
    if at_edge.max() > values.max() + _LARGEST_AT_EDGE:
        return None
    return float(values.logsumexp(0)) + features * step


def verdict(summary: Mapping[str, Any]) -> str:
    """Say whether the estimates of log Z agree."""
    distance = abs(summary["log_z"] - summary["log_z_annealed"])
    error = math.hypot(summary["log_z_se"], summary["log_z_annealed_se"])
    if distance <= _FAR * error:
        return "Importance sampling and annealing agree within their errors."
    return (
        f"Importance sampling and annealing differ by {distance:.2f} nats, far more than their errors: the flow misses "
        "a part of the density, so all numbers but the quadrature may be wrong."
    )


@torch.no_grad()
def _free_energy(target: LogDensity, density: FlowDistribution, samples: int, seed: int) -> tuple[float, float]:
    """Return E_q[log q - log p̃] and its standard error, in nats."""
    with torch.random.fork_rng():
        torch.manual_seed(seed + 1)
        draw = density.draw((samples,))
    values = (draw.log_prob - target(draw.z)).double()
    return float(values.mean()), float(values.std() / samples**0.5)
