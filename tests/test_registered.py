"""Whatever is registered is tried by `pytest` alone, from the command line: no sweep may be the only one to try it."""

import json
from pathlib import Path

import numpy as np
import pytest

from nfvae.commands import COMMANDS
from nfvae.data import DATASETS, Toy
from nfvae.estimators import GRADIENTS, OBJECTIVES
from nfvae.flows import FLOWS
from nfvae.flows.univariate import UNIVARIATES
from nfvae.models import DECODERS, ENCODERS, LIKELIHOODS, PRIORS
from nfvae.runs.estimators import ESTIMATORS
from nfvae.training.optimizers import OPTIMIZERS, SCHEDULES
from tests.conftest import QUICKSTART
from tests.helpers.flows import small_options

ROLES = {
    "flow": FLOWS,
    "encoder": ENCODERS,
    "decoder": DECODERS,
    "likelihood": LIKELIHOODS,
    "prior": PRIORS,
    "objective": OBJECTIVES,
    "gradient": GRADIENTS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
}
SMALL = ["--model.latent", 2, "--model.context", 3, "--model.depth", 1, "--model.flow", "planar"]
NEEDS = {
    ("gradient", "dreg"): ["--model.objective", "iwae"],
    ("likelihood", "own"): ["--model.decoder", "tests.helpers.own:LaplaceDecoder"],
    ("schedule", "multistep"): ["--model.milestones", "[1]"],
}
pytestmark = pytest.mark.usefixtures("short_gaps")
SHORT = ["--limit", 2, "--chains", 2, "--temperatures", 3]
DENSITY = ["--task", "density", "--data.dataset_options.count", 50, "--model.depth", 1]
ARGUMENTS = {
    "classify": ["--limit", 3, "--samples", 2],
    "fit": ["-c", QUICKSTART, "--trainer.fast_dev_run", "true"],
    "evaluate": ["--samples", 2, "--limit", 2],
    "gap": SHORT,
    "compare": ["--samples", 20],
    "export": ["--to", "exported"],
    "encode": ["--input", "in.npy"],
    "impute": ["--input", "holes.npz", "--samples", 50],
    "score": ["--input", "in.npy", "--estimator", "importance", "--samples", 2],
}


def tried(cli, *words):
    code, _, error = cli(*words)
    assert code == 0, error


@pytest.mark.parametrize(("role", "name"), [(role, name) for role, names in ROLES.items() for name in names])
def test_every_part_of_a_model_is_trained(role, name, cli):
    options = ["--model.flow_options", json.dumps(small_options(name))] if role == "flow" else []
    asked = [f"--model.{role}", name, *options, *NEEDS.get((role, name), [])]
    tried(cli, "fit", "-c", QUICKSTART, *SMALL, *asked, "--trainer.fast_dev_run", "true")


def density(cli, *asked):
    small = ["--data.dataset_options.count", 50, "--model.depth", 1, "--trainer.fast_dev_run", "true"]
    tried(cli, "fit", "--task", "density", *small, *asked)


@pytest.mark.parametrize("name", UNIVARIATES)
def test_every_univariate_map_is_trained(name, cli):
    density(cli, "--model.flow", "elementwise", "--model.flow_options.univariate", name)


@pytest.mark.parametrize("name", [name for name in DATASETS if issubclass(DATASETS.load(name), Toy)])
def test_every_toy_is_fitted(name, cli):
    density(cli, "--model.flow", "planar", "--data.dataset", name)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_evaluates_a_run(name, run, cli):
    if "vae" not in ESTIMATORS.load(name).kinds:
        tried(cli, "fit", *DENSITY, "--name", "density", "--trainer.max_epochs", 1)
        return tried(cli, "evaluate", "runs/density")
    tried(cli, *(["gap", run] if name == "gap" else ["evaluate", run, "--estimator", name, "--samples", 2]), *SHORT)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_runs(command, run, cli):
    np.save("in.npy", np.zeros((3, 8, 8)))
    np.savez("holes.npz", images=np.zeros((3, 8, 8)), mask=np.tri(8, 8)[None].repeat(3, 0))
    if command == "classify":
        tried(cli, "fit", "-c", QUICKSTART, "--data.labels", "true", "--trainer.max_epochs", 1, "--name", "labeled")
        run = "runs/labeled"
    if command == "compare":
        tried(cli, "evaluate", run, *ARGUMENTS[command])
    before = set(Path().rglob("*"))
    kind = ["samples"] if command == "plot" else []
    of_run = [] if command == "fit" else [run]
    tried(cli, command, *kind, *of_run, *ARGUMENTS.get(command, []))
    assert command in ("fit", "compare") or set(Path().rglob("*")) > before
