"""The trained runs that lie in the repository: what they hold, and that their weights still give their numbers."""

import os
import shutil
from pathlib import Path

import pytest

from nfvae.data.datasets import DATA_ROOT_VARIABLE
from nfvae.runs import EvaluationSettings, Run
from nfvae.runs.estimators.importance import Importance
from nfvae.runs.results import read_summary

TRAINED = Path(__file__).resolve().parent.parent / "trained"
RUNS = sorted(path.parent.parent for path in TRAINED.glob("*/checkpoints/best.ckpt"))
FIRST_SEEDS = [path for path in RUNS if "seed" not in path.name]
WEIGHTS = [path for path in RUNS if Run(path).checkpoint["state_dict"]]
TWENTY = EvaluationSettings(Importance(samples=1000), limit=20)
PAPERS = EvaluationSettings(Importance(proposal="posterior"))
LARGEST, ALL = 10_000_000, 12_000_000  # bytes of the two best, and of every file


def test_the_two_best_hold_their_weights_and_are_small():
    best = sorted(FIRST_SEEDS, key=lambda path: read_summary(Run(path), PAPERS)["nll"])[:2]
    assert set(best) <= set(WEIGHTS)
    assert sum(map(size, best)) < LARGEST
    assert size(TRAINED) < ALL


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_every_run_holds_its_evaluations(path):
    run = Run(path)
    assert read_summary(run, PAPERS)["images"] == 10_000
    assert run.folder.history()


@pytest.mark.parametrize("path", WEIGHTS, ids=lambda path: path.name)
def test_the_weights_give_the_likelihood_of_twenty_images(path, workdir, cli):
    if not Path(os.environ.get(DATA_ROOT_VARIABLE, "no data"), "MNIST").is_dir():
        pytest.skip(f"MNIST is not under {DATA_ROOT_VARIABLE}")
    expected = read_summary(Run(path), TWENTY)
    shutil.copytree(path, "again")
    assert cli("evaluate", "again", *TWENTY.arguments().split())[0] == 0
    found = read_summary(Run("again"), TWENTY)
    assert found["nll"] == pytest.approx(expected["nll"], abs=0.01)
    assert found["elbo"] == pytest.approx(expected["elbo"], abs=0.01)
