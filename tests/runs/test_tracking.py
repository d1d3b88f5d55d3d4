"""What an offline wandb run holds, read back from its file."""

import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from nfvae.runs import RunFolder
from nfvae.runs.tracking import RunLogger, _id_in, finish, wandb_settings
from tests.conftest import QUICKSTART
from tests.helpers.sweeps import exhaustive, first
from tests.helpers.wandb_log import WandbRun

RUN = Path("runs/digits-iaf-4-seed0")
ROOT = Path(QUICKSTART).parent


@pytest.fixture(autouse=True)
def _fresh_wandb():
    """A wandb that reads its variables again."""
    import wandb

    wandb.teardown()


def logs():
    """The .wandb files of the run, the oldest first."""
    folders = sorted(RUN.glob("wandb/offline-run-*"), key=lambda path: path.stat().st_mtime)
    return [next(folder.glob("run-*.wandb")) for folder in folders]


def test_a_training_is_one_run_with_everything_that_a_comparison_needs(fit, no_wandb_account):
    code, out, error = fit("--norms", "true", "--trainer.log_every_n_steps", 10)
    assert code == 0, error
    (file,) = logs()
    lines = [line for line in (out + error).splitlines() if "wandb" in line]
    assert lines == [f"wandb: offline; to upload: wandb sync {RUN}/wandb/offline-run-*"]
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
    code, out, error = cli("evaluate", RUN, "--samples", 30)
    assert code == 0, error
    assert [line.partition(":")[0] for line in (out + error).splitlines() if "wandb" in line] == ["wandb"]
    runs = trained, resumed, evaluated = [WandbRun(file) for file in logs()]
    assert trained.run.run_id == resumed.run.run_id == evaluated.run.run_id
    assert [row["epoch"] for row in resumed.history if "val/elbo" in row] == [2]
    for other in runs[1:]:
        assert (other.run.job_type, other.run.run_group) == (trained.run.job_type, trained.run.run_group)
        assert [*other.run.tags] == [*trained.run.tags]
    used = [row["_step"] for each in runs for row in each.history]
    assert used == sorted(set(used)), "a step that is used twice hides a row"
    assert [row["_step"] - row["trainer/global_step"] for row in resumed.history if "seconds" in row] == [1]
    assert {"test/importance-30/nll", "test/importance-30/nll_mc_se", "test/importance-30/khat_above_0_7"} <= set(
        evaluated.summary
    )
    assert "test/importance-30/figure.path" in evaluated.summary


def test_rows_that_come_again_after_a_kill_hide_none(workdir, no_wandb_account):
    """The rows after the last checkpoint are logged a second time, and a third after a second kill."""
    folder = RunFolder(RUN)
    for steps in ((5, 10, 15), (10, 15), (10, 15, 20, 20, 40)):
        logger = RunLogger(folder, wandb_settings(folder, {}))
        for step in steps:
            logger.log_metrics({"loss": 1.0}, step)
        finish()
    rows = [row for file in logs() for row in WandbRun(file).history]
    assert [row["_step"] for row in rows] == [5, 10, 15, 16, 17, 18, 19, 20, 21, 40]
    assert [row["trainer/global_step"] for row in rows] == [5, 10, 15, 10, 15, 10, 15, 20, 20, 40]


VARIABLES = {"PROJECT": "thesis", "RUN_GROUP": "g", "TAGS": "a,b", "ENTITY": "me", "NAME": "n", "DIR": "w"}


def test_variables_of_wandb_win_but_for_name_and_folder(fit, no_wandb_account, monkeypatch):
    for name, value in VARIABLES.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    assert fit("--trainer.max_epochs", 1)[0] == 0
    run = WandbRun(logs()[0]).run
    assert (run.project, run.run_group, [*run.tags], run.entity) == ("thesis", "g", ["a", "b"], "me")
    assert run.display_name == RUN.name
    assert not Path("w").exists()


@pytest.fixture
def no_network(no_wandb_account, monkeypatch):
    """An account, and a server that nobody reaches."""
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")


def test_without_a_network_a_run_goes_offline_in_one_line(fit, cli, no_network):
    for code, out, error in (fit("--trainer.max_epochs", 1), cli("evaluate", RUN, "--samples", 30)):
        assert code == 0, error
        lines = [line for line in (out + error).splitlines() if "wandb" in line]
        assert len(lines) == 2, lines
        assert re.fullmatch(r"wandb cannot start \(.*\): offline now; WANDB_MODE=offline saves the attempt", lines[0])
    trained, evaluated = (WandbRun(file) for file in logs()[-2:])
    assert [row["epoch"] for row in trained.history if "val/elbo" in row] == [0]
    assert trained.run.run_id == evaluated.run.run_id
    assert "test/importance-30/nll" in evaluated.summary


@pytest.mark.parametrize("broken", first(["log", "init", "save", "finish"]))
def test_nothing_that_goes_wrong_in_wandb_ends_a_training(broken, fit, cli, no_wandb_account, monkeypatch):
    import wandb

    def fail(*_, mode="", **__):
        if mode != "disabled":
            raise wandb.errors.CommError("the server is on fire\nand so on")
        return disabled(mode=mode)

    disabled = wandb.init
    owner = wandb if broken in ("init", "finish") else wandb.Run
    monkeypatch.setattr(owner, broken, fail)
    trained, evaluated = fit("--trainer.max_epochs", 1), cli("evaluate", RUN, "--samples", 30)
    assert "the server is on fire)" in trained[1]
    for code, out, error in (trained, evaluated):
        assert code == 0, error
        assert "Traceback" not in out + error
    monkeypatch.undo()
    finish(says=False)


@exhaustive
def test_a_density_is_judged_by_its_smallest_nll(cli, no_wandb_account):
    small = ["--data.dataset_options.count", 500, "--model.depth", 1, "--trainer.max_epochs", 2]
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
