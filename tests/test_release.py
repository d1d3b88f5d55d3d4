"""The trained runs that lie in the repository: what they hold, and that their weights still give their numbers."""

import os
import shutil
from pathlib import Path

import pytest

from nfvae.data.datasets import DATA_ROOT_VARIABLE
from nfvae.runs import EvaluationSettings, Run
from nfvae.runs.results import read_summary

RELEASE = Path(__file__).resolve().parent.parent / "release"
RUNS = sorted(path.parent.parent for path in RELEASE.glob("*/checkpoints/best.ckpt"))
WEIGHTS = [path for path in RUNS if Run(path).checkpoint["state_dict"]]
TWENTY = EvaluationSettings(samples=1000, limit=20)
LARGEST = 10_000_000  # bytes of all files together


def test_all_is_small():
    assert RUNS
    assert sum(path.stat().st_size for path in RELEASE.rglob("*") if path.is_file()) < LARGEST


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_every_run_holds_its_evaluations(path):
    run = Run(path)
    assert read_summary(run, EvaluationSettings(proposal="posterior"))["images"] == 10_000
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
