"""One file and one line add an estimator to every command that offers estimators."""

import csv
import json
from pathlib import Path

import pytest
import torch

from nfvae.runs import EvaluationSettings
from nfvae.runs.estimators import ESTIMATORS, estimator_classes
from tests.helpers.naive import Naive

NAME = "runs/digits-iaf-4-seed0/evaluation-test-naive-20-sweet-first30"


@pytest.fixture
def run(fit, monkeypatch):
    monkeypatch.setitem(ESTIMATORS.entries, "naive", "tests.helpers.naive:Naive")
    assert fit()[0] == 0


def test_every_registered_estimator_has_its_name():
    for name, kind in estimator_classes().items():
        assert kind.name == name
        assert kind().words() == []
        assert kind.of({}) == kind()


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_an_estimator_of_your_own_works_everywhere(run, cli):
    asked = ["--estimator", "naive", "--draws", 20, "--flavor", "sweet", "--limit", 30]
    code, out, _ = cli("evaluate", "runs/digits-iaf-4-seed0", *asked)
    assert code == 0
    assert "naivety, nats" in out
    assert "Do not believe these 1." in out
    summary = json.loads(Path(f"{NAME}.json").read_text())
    assert summary["draws"] == 20
    assert summary["flavor"] == "sweet"
    assert len(rows(f"{NAME}.csv")) == 30
    assert Path(f"{NAME}.png").stat().st_size > 1000
    again = cli("evaluate", "runs/digits-iaf-4-seed0", *asked)[1]
    assert "written" not in again
    settings = EvaluationSettings(Naive(20, "sweet"), limit=30)
    assert settings.arguments() == "--estimator naive --draws 20 --flavor sweet --limit 30"
    code, out, _ = cli("compare", "runs/digits-iaf-4-seed0", *asked, "--format", "json")
    assert (code, json.loads(out)[0]["naivety"]) == (0, summary["naivety"])
    assert "20 sweet samples of the prior" in cli("compare", "runs/digits-iaf-4-seed0", *asked)[1]
    torch.save(torch.zeros(2, 8, 8), "x.pt")
    score = ["score", "runs/digits-iaf-4-seed0", "--input", "x.pt", "--estimator", "naive", "--output", "x.csv"]
    assert cli(*score)[0] == 0
    assert len(rows("x.csv")) == 2


def test_its_settings_are_refused_before_anything_is_evaluated(run, cli):
    for command in ("evaluate", "compare"):
        code, _, err = cli(command, "runs/digits-iaf-4-seed0", "--draws", 0)
        assert (code, err) == (2, "nfvae: error: samples must be at least 1; got 0\n")
    code, _, err = cli("evaluate", "runs/digits-iaf-4-seed0", "--estimator", "naif")
    assert code == 2
    assert "unknown estimator 'naif'; known estimators: importance, annealed, sandwich, naive" in err


def test_compare_fit_evaluates_by_it(run, cli):
    asked = ["--estimator", "naive", "--draws", 5, "--limit", 10]
    code, out, err = cli("compare", "--fit", "runs/digits-iaf-4-seed0", *asked)
    assert code == 0, err
    assert Path("runs/digits-iaf-4-seed0/evaluation-test-naive-5-first10.json").is_file()
    assert "naivety, nats" in out
