"""What an offline wandb run holds, read back from its file."""

import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from nfvae.runs.tracking import _id_in
from tests.conftest import QUICKSTART
from tests.helpers.wandb_log import WandbRun

RUN = Path("runs/digits-iaf-4-seed0")
ROOT = Path(QUICKSTART).parent


def logs():
    """The .wandb files of the run, the oldest first."""
    folders = sorted(RUN.glob("wandb/offline-run-*"), key=lambda path: path.stat().st_mtime)
    return [next(folder.glob("run-*.wandb")) for folder in folders]


def test_a_training_is_one_run_with_everything_that_a_comparison_needs(fit, no_wandb_account):
    code, out, error = fit("--norms", "true", "--trainer.log_every_n_steps", 10)
    assert code == 0, error
    (file,) = logs()
    assert re.search(rf"wandb sync .*{re.escape(file.parent.name)}", out + error)
    log = WandbRun(file)
    assert (log.run.project, log.run.display_name, log.run.job_type) == ("nfvae", RUN.name, "train")
    assert log.run.run_group == "digits-iaf-4"
    assert list(log.run.tags) == ["iaf", "depth 4", "elbo"]
    saved = yaml.safe_load((RUN / "config.yaml").read_text())
    for section in ("model", "data", "trainer"):
        assert {key: log.config[section][key] for key in saved[section]} == saved[section]
    assert {"flow", "depth", "nfvae"} <= set(log.config)
    steps = [row["trainer/global_step"] for row in log.history if "train/elbo_step" in row]
    assert steps == [10, 20, 30, 40]
    assert all(row["train/gradient_norm"] > 0 < row["train/parameter_norm"] for row in log.history[:2])
    epochs = [row for row in log.history if "val/elbo" in row]
    assert [row["epoch"] for row in epochs] == [0, 1]
    assert len(log.history) == len(steps) + len(epochs) + 1
    assert log.summary["val/elbo"] == {"max": max(row["val/elbo"] for row in epochs)}
    for name in ("samples", "reconstructions"):
        picture = file.parent / "files" / log.summary[f"{name}.path"]
        assert picture.read_bytes() == (RUN / f"{name}.png").read_bytes()


def test_resuming_and_evaluating_go_on_in_the_same_run(fit, cli, no_wandb_account):
    assert fit()[0] == 0
    code, _, error = cli("fit", "--ckpt_path", RUN / "checkpoints/last.ckpt", "--trainer.max_epochs", 3)
    assert code == 0, error
    code, _, error = cli("evaluate", RUN, "--samples", 30)
    assert code == 0, error
    trained, resumed, evaluated = (WandbRun(file) for file in logs())
    assert trained.run.run_id == resumed.run.run_id == evaluated.run.run_id
    assert [row["epoch"] for row in resumed.history if "val/elbo" in row] == [2]
    assert evaluated.run.job_type == "evaluate"
    assert {"test/importance-30/nll", "test/importance-30/nll_mc_se", "test/importance-30/khat_above_0_7"} <= set(
        evaluated.summary
    )
    assert "test/importance-30/figure.path" in evaluated.summary


def test_a_density_is_judged_by_its_smallest_nll(cli, no_wandb_account):
    small = ["--data.count", 500, "--model.depth", 1, "--trainer.max_epochs", 2]
    code, _, error = cli("fit", "--task", "density", "--name", RUN.name, *small)
    assert code == 0, error
    log = WandbRun(logs()[0])
    assert (log.run.run_group, list(log.run.tags)) == ("two_moons-maf-1", ["maf", "depth 1", "nll"])
    assert log.summary["val/nll"] == {"min": min(row["val/nll"] for row in log.history if "val/nll" in row)}
    assert "density.path" in log.summary


def test_checkpoints_are_artifacts_on_request_only(fit, no_wandb_account, monkeypatch):
    import wandb

    kept = []
    monkeypatch.setattr(wandb.Run, "log_artifact", lambda run, artifact, **how: kept.append((artifact, how)))
    assert fit()[0] == 0
    assert kept == []
    assert fit("--artifacts", "true", "--overwrite", "true")[0] == 0
    ((artifact, how),) = kept
    assert (artifact.name.partition(":")[0], artifact.type, how) == (RUN.name, "model", {"aliases": ["best"]})
    assert set(artifact.manifest.entries) == {"checkpoints/best.ckpt", "checkpoints/last.ckpt", "config.yaml"}


def test_norms_are_logged_on_request_only(fit, no_wandb_account):
    assert fit()[0] == 0
    assert "gradient_norm" not in (RUN / "metrics.csv").read_text()
    assert "train/gradient_norm" not in WandbRun(logs()[0]).summary


def test_without_wandb_everything_else_works(fit, cli, no_wandb_account, monkeypatch):
    assert fit()[0] == 0
    shutil.rmtree(RUN / "wandb")
    monkeypatch.setitem(sys.modules, "wandb", None)
    code, _, error = fit("--overwrite", "true")
    assert code == 0, error
    assert not (RUN / "wandb").exists()
    code, _, error = cli("evaluate", RUN, "--samples", 30)
    assert code == 0, error


@pytest.mark.parametrize("file", [ROOT / "sweep.yaml"], ids=str)
def test_every_parameter_of_the_sweep_exists(file, cli, mnist_root):
    sweep = yaml.safe_load(file.read_text())
    program, *command = sweep["command"]
    assert program == "nfvae"
    chosen = [f"--{name}={parameter['values'][0]}" for name, parameter in sweep["parameters"].items()]
    words = [str(ROOT.parent / word) if word.startswith("configs/") else word for word in command]
    place = words.index("${args}")
    words[place : place + 1] = chosen
    quick = ["--trainer.fast_dev_run", "true", "--data.root", mnist_root, "--data.batch_size", 100]
    code, _, error = cli(*words, *quick)
    assert code == 0, error
    assert sweep["metric"] == {"name": "val/elbo", "goal": "maximize"}
    for name, parameter in sweep["parameters"].items():
        if name == "model.flow":
            for flow in parameter["values"]:
                assert cli(*words, *quick, "--model.flow", flow, "--model.depth", 1)[0] == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("offline-run-20261121_160949-hpngajc3", "hpngajc3"),
        ("offline-run-20261121_160949-hpngajc3-1", "hpngajc3"),
        ("run-20261121_160949-0a1b2c3d", "0a1b2c3d"),
        ("run-of-somebody", None),
    ],
)
def test_the_id_of_an_earlier_start_is_found(name, expected):
    assert _id_in(name) == expected
