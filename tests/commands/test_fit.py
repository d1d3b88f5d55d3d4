"""The command line, run in this process but where it must die."""

import csv
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from nfvae import FlowVAE
from nfvae.__main__ import main
from nfvae.commands.fit import _trainer
from nfvae.commands.plan import Plan
from nfvae.data import DATASETS
from nfvae.runs.metrics import read_rows
from tests.conftest import QUICKSTART, in_the_background
from tests.helpers.checkpoints import changed
from tests.helpers.idx import write_mnist
from tests.helpers.own_images import color_data, write_dataset
from tests.helpers.sweeps import exhaustive, first, sweep

CONFIGS = Path(QUICKSTART).parent
RUN = Path("runs/digits-iaf-4-seed0")
BEST, LAST = RUN / "checkpoints/best.ckpt", RUN / "checkpoints/last.ckpt"


def rows(run=RUN, name="metrics"):
    with (run / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def curve(run, key):
    return [(int(float(row["epoch"])), float(row[key])) for row in rows(run) if row.get(key)]


MNIST = CONFIGS / "mnist.yaml"
FOLDERS = ("networks", "posteriors", "priors")  # of overlays that go together, one of each
OVERLAYS = [path for folder in (*FOLDERS, "finetune") for path in sorted((CONFIGS / folder).glob("*.yaml"))]
ALONE = ("mnist", "gray", "energy", "quickstart", "distill/teacher", "plane/none", "toy/teacher", "tables/density")
STUDENTS = {"distill/student": "distill/teacher", "toy/student": "toy/teacher"}
ELSEWHERE = {"sweep": "test_tracking.py", "distill/gated": "test_readme.py"}


def name_of(path):
    return path.relative_to(CONFIGS).with_suffix("").as_posix()


def test_every_config_is_run_by_a_test():
    run = [*ALONE, *STUDENTS, *ELSEWHERE, "plane/planar", "plane/iaf", "toy/gallery", *map(name_of, OVERLAYS)]
    data = [name_of(path) for path in (CONFIGS / "data").glob("*.yaml")]
    assert sorted(map(name_of, CONFIGS.rglob("*.yaml"))) == sorted([*run, *data])


ONE_OF_EACH = ("networks/relu", "posteriors/planar", "priors/flow", "finetune/iwae")


@pytest.mark.parametrize("overlay", sweep(OVERLAYS, lambda path: name_of(path) in ONE_OF_EACH), ids=name_of)
def test_every_overlay_runs(overlay, cli, mnist_root):
    words = ["-c", MNIST, "-c", overlay, "--data.root", mnist_root]
    code, _, error = cli("fit", *words, "--trainer.fast_dev_run", "true")
    assert code == 0, error
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    "words",
    [
        *([name] for name in ALONE),
        *(["plane/none", f"plane/{flow}"] for flow in ("planar", "iaf")),
        ["toy/gallery", "--model.flow", "planar", "--data.dataset", "rings"],
        *(["quickstart", "--model.gradient", gradient] for gradient in ("path", "reinforce")),
        ["quickstart", "--model.gradient", "dreg", "--model.objective", "iwae", "--model.samples", 5],
    ],
    ids=lambda words: " ".join(map(str, words)),
)
def test_every_config_runs(words, cli, mnist_root, monkeypatch):
    monkeypatch.setenv("NFVAE_DATA", str(mnist_root))
    names = [word for word in words if (CONFIGS / f"{word}.yaml").is_file()]
    configs = [word for name in names for word in ("-c", CONFIGS / f"{name}.yaml")]
    code, _, error = cli("fit", *configs, *words[len(names) :], "--trainer.fast_dev_run", "true")
    assert code == 0, error


@pytest.mark.parametrize("student", first(STUDENTS))
def test_every_student_runs(student, cli, mnist_root, monkeypatch):
    monkeypatch.setenv("NFVAE_DATA", str(mnist_root))
    short = [f"--trainer.limit_{part}_batches=1" for part in ("train", "val")]
    code, _, error = cli("fit", "-c", CONFIGS / f"{STUDENTS[student]}.yaml", "--trainer.max_epochs", 1, *short)
    assert code == 0, error
    code, _, error = cli("fit", "-c", CONFIGS / f"{student}.yaml", "--trainer.fast_dev_run", "true")
    assert code == 0, error


def test_every_data_set_that_needs_one_has_a_config():
    configured = {path.stem for path in (CONFIGS / "data").glob("*.yaml")}
    bare = ("nfvae.data.toys", "nfvae.data.scikit", "nfvae.data.uci")
    without = {name for name, path in DATASETS.items() if path.startswith(bare)}
    assert configured | without | {"mnist"} == set(DATASETS)


@pytest.mark.parametrize("path", sorted((CONFIGS / "data").glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("base", first(["quickstart", "mnist"]))
def test_every_data_set_has_a_config_that_runs(base, path, cli, workdir, monkeypatch):
    monkeypatch.setenv("NFVAE_DATA", str(workdir))
    write_dataset(path.stem, workdir)
    color_data(monkeypatch)
    code, _, error = cli("fit", "-c", CONFIGS / f"{base}.yaml", "-c", path, "--trainer.fast_dev_run", "true")
    assert code == 0, error


def test_quickstart_config_runs(fit):
    assert fit("--trainer.fast_dev_run", "true")[0] == 0


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.name)
def test_every_key_of_a_config_has_a_comment(path):
    for line in path.read_text().splitlines():
        if line.strip() and not re.fullmatch(r"(#.*|\w+:|\s+\w+_options:)", line):
            assert re.search(r"\S\s+# \S", line), line


def test_a_run_leaves_its_folder(fit):
    code, out, error = fit()
    assert code == 0, error
    for name in ("config.yaml", "metrics.csv", "samples.png", "reconstructions.png"):
        assert (RUN / name).stat().st_size > 0
    assert {path.name for path in (RUN / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert str(BEST) in out
    config = yaml.safe_load((RUN / "config.yaml").read_text())
    assert config["model"]["flow"] == "iaf"
    assert config["name"] == RUN.name
    assert len(curve(RUN, "val/elbo")) == len(curve(RUN, "train/elbo")) == len(curve(RUN, "train/beta")) == 2
    assert FlowVAE.load_from_checkpoint(BEST).hparams["shape"] == [8, 8]


def test_best_is_the_checkpoint_of_the_highest_validation_elbo(fit):
    growing_beta = ["beta", 6, "beta_schedule", "linear", "warmup_epochs", 8]
    options = zip(growing_beta[::2], growing_beta[1::2], strict=True)
    growing_beta = [word for name, value in options for word in (f"--model.objective_options.{name}", value)]
    assert fit("--trainer.max_epochs", 8, "--model.lr", 0.003, *growing_beta)[0] == 0
    best_epoch = max(curve(RUN, "val/elbo"), key=lambda pair: pair[1])[0]
    assert best_epoch < 7  # at the end the latents say nothing any more
    assert torch.load(BEST, weights_only=True)["epoch"] == best_epoch
    assert torch.load(LAST, weights_only=True)["epoch"] == 7


def test_a_run_is_named_after_data_flow_depth_and_seed_or_as_told(fit):
    assert fit("--seed_everything", 3, "--model.depth", 2)[0] == 0
    assert Path("runs/digits-iaf-2-seed3/config.yaml").is_file()
    assert fit("--name", "mine", "--trainer.default_root_dir", "elsewhere")[0] == 0
    assert Path("elsewhere/mine/checkpoints/best.ckpt").is_file()


def test_the_same_command_twice_gives_the_same_metrics(fit):
    assert fit("--name", "one")[0] == fit("--name", "two")[0] == 0
    for key in ("val/elbo", "train/elbo", "train/kl"):
        assert curve(Path("runs/one"), key) == curve(Path("runs/two"), key)
    assert fit("--name", "three", "--seed_everything", 1)[0] == 0
    assert curve(Path("runs/one"), "val/elbo") != curve(Path("runs/three"), "val/elbo")


def test_an_existing_run_is_not_overwritten_silently(run, fit):
    before = {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file()}
    code, _, error = fit()
    assert code == 2
    assert "exists; resume it with --ckpt_path" in error
    assert fit("--overwrite", "true", "--model.flow", "plannar")[0] == 2
    assert {path: path.read_bytes() for path in before} == before
    assert fit("--overwrite", "true", "--trainer.max_epochs", 1)[0] == 0
    assert len(curve(RUN, "val/elbo")) == 1
    assert [path.name for path in Path("runs").iterdir()] == [RUN.name]


def test_a_run_that_was_set_aside_is_deleted_only_by_who_asks(fit):
    """A training that should replace a run and diverges keeps it, and so does the next one without --overwrite."""
    assert fit("--name", "b")[0] == 0
    good = Path("runs/b/checkpoints/best.ckpt").read_bytes()
    diverging = ["--name", "b", "--overwrite", "true", "--model.lr", 1e30]
    code, out, _ = fit(*diverging)
    assert (code, "the run to be replaced was moved to runs/.b.replaced" in out) == (1, True)
    code, out, error = fit("--name", "b", "--seed_everything", 5)
    assert code == 0, error
    assert "kept: runs/.b.replaced, a run that an earlier --overwrite moved" in out
    assert Path("runs/.b.replaced/checkpoints/best.ckpt").read_bytes() == good
    other = Path("runs/b/checkpoints/best.ckpt").read_bytes()
    assert fit(*diverging)[0] == 1
    kept = [Path(f"runs/.b.replaced{count}/checkpoints/best.ckpt").read_bytes() for count in ("", 1)]
    assert kept == [good, other]
    assert fit("--name", "b", "--overwrite", "true")[0] == 0
    assert [path.name for path in Path("runs").iterdir()] == ["b"]


@exhaustive
def test_another_run_with_a_name_like_a_replaced_one_is_left_alone(fit):
    assert fit("--name", "x.old")[0] == fit("--name", "x")[0] == fit("--name", "x", "--overwrite", "true")[0] == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == ["x", "x.old"]


def test_runs_lie_in_groups(fit, cli):
    assert fit("--name", "group/one")[0] == 0
    assert cli("fit", "--ckpt_path", "runs/group/one", "--trainer.max_epochs", 3)[0] == 0
    assert [epoch for epoch, _ in curve(Path("runs/group/one"), "val/elbo")] == [0, 1, 2]
    assert not Path("runs/one").exists()


def test_a_run_that_holds_another_is_not_replaced(fit):
    assert fit("--name", "x")[0] == fit("--name", "x/inner")[0] == 0
    code, _, error = fit("--name", "x", "--overwrite", "true")
    assert_one_line(code, error, "run runs/x contains another run, runs/x/inner: move it")
    assert Path("runs/x/inner/checkpoints/best.ckpt").is_file()


@exhaustive
def test_a_folder_of_runs_may_become_one_itself(fit):
    assert fit("--name", "group/one")[0] == fit("--name", "group")[0] == 0
    assert Path("runs/group/one/checkpoints/best.ckpt").is_file()


def test_a_run_that_was_moved_keeps_its_best_checkpoint(run, cli):
    """Its score is known wherever the run lies, so a worse epoch does not take its place."""
    Path("moved").mkdir()
    moved = RUN.rename("moved/run")
    last = moved / "checkpoints/last.ckpt"
    with changed(last) as saved:
        (best,) = (state for state in saved["callbacks"].values() if state.get("monitor") == "val/elbo")
        unbeatable = torch.tensor(0.0)
        best |= {"best_model_score": unbeatable, "kth_value": unbeatable}
        best["best_k_models"] = dict.fromkeys(best["best_k_models"], unbeatable)
    before = (moved / "checkpoints/best.ckpt").read_bytes()
    assert cli("fit", "--ckpt_path", moved, "--trainer.max_epochs", 4)[0] == 0
    assert len(curve(moved, "val/elbo")) == 4
    assert (moved / "checkpoints/best.ckpt").read_bytes() == before


def test_resuming_needs_the_checkpoint_alone_and_extends_the_run(run, cli):
    code, _, error = cli("fit", "--ckpt_path", LAST, "--trainer.max_epochs", 3)
    assert code == 0, error
    assert [epoch for epoch, _ in curve(RUN, "val/elbo")] == [0, 1, 2]
    assert torch.load(LAST, weights_only=True)["epoch"] == 2
    assert cli("fit", "--ckpt_path", LAST, "--trainer.max_epochs", 5)[0] == 0
    assert [epoch for epoch, _ in curve(RUN, "val/elbo")] == [0, 1, 2, 3, 4]


@exhaustive
def test_a_run_killed_in_mid_epoch_resumes_and_ends_as_the_uninterrupted_one(fit, cli):
    whole = [
        "--trainer.max_epochs",
        12,
        "--trainer.log_every_n_steps",
        2,
        "--model.encoder_options.hidden",
        "[700, 700]",
    ]
    assert fit(*whole, "--name", "whole")[0] == 0
    killed = Path("runs/killed")
    with in_the_background("fit", "-c", QUICKSTART, *whole, "--name", "killed") as process:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not (
            (killed / "checkpoints/last.ckpt").is_file() and 10 <= int(rows(killed, "steps")[-1]["step"]) % 20 <= 16
        ):
            time.sleep(0.005)
        process.kill()
    saved = torch.load(killed / "checkpoints/last.ckpt", weights_only=True)
    assert saved["epoch"] < 11
    assert saved["global_step"] < int(rows(killed, "steps")[-1]["step"])
    assert cli("fit", "--ckpt_path", killed / "checkpoints/last.ckpt")[0] == 0
    for key in ("val/elbo", "train/elbo"):
        assert curve(killed, key) == curve(Path("runs/whole"), key)
    assert rows(killed, "steps") == rows(Path("runs/whole"), "steps")


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_the_run_and_says_how_to_resume(stop, code, workdir):
    with in_the_background("fit", "-c", QUICKSTART, "--trainer.max_epochs", 10_000) as process:
        deadline = time.monotonic() + 240
        while not LAST.is_file() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(process.pid, stop)
        process.join(60)
        assert process.exitcode == code
    text = Path("out.txt").read_text()
    assert "Traceback" not in text
    assert f"resume with: nfvae fit --ckpt_path {RUN}" in " ".join(text.split())
    assert torch.load(LAST, weights_only=True)["epoch"] >= 0


def listen_to_ctrl_c():
    """Undo what a shell does to its background jobs, and they to all that they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("seconds", first([1.6, 0.3, 0.8, 2.4, 3.2]))
def test_ctrl_c_twice_in_the_start_is_no_traceback(seconds, workdir):
    command = [sys.executable, "-m", "nfvae", "fit", "-c", QUICKSTART, "--trainer.max_epochs", "10000"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=listen_to_ctrl_c
    )
    for pause in (seconds, 0.05):
        time.sleep(pause)
        process.send_signal(signal.SIGINT)
    text = process.communicate(timeout=60)[0]
    assert process.returncode == 130, text[-2000:]
    assert "Traceback" not in text
    assert "interrupted" in text


SLURM = ("NTASKS=1", "JOB_ID=7", "JOB_NAME=job", "PROCID=0", "LOCALID=0", "NODEID=0")


@pytest.fixture
def slurm(monkeypatch):
    """The variables of a SLURM job."""
    for pair in SLURM:
        name, _, value = pair.partition("=")
        monkeypatch.setenv(f"SLURM_{name}", value)


@exhaustive
def test_a_job_begins_from_no_checkpoint_of_another(fit, cli, slurm, monkeypatch):
    assert fit("--name", "a")[0] == 0
    for folder in ("runs", "."):
        shutil.copy("runs/a/checkpoints/last.ckpt", f"{folder}/hpc_ckpt_1.ckpt")
    assert fit("--name", "other", "--seed_everything", 5)[0] == 0
    assert [epoch for epoch, _ in curve(Path("runs/other"), "val/elbo")] == [0, 1]
    assert yaml.safe_load(Path("runs/other/config.yaml").read_text())["trainer"]["default_root_dir"] == "runs"
    loaded = []
    monkeypatch.setattr(FlowVAE, "on_load_checkpoint", lambda *_: loaded.append(1))
    assert cli("test", "runs/other")[0] == cli("evaluate", "runs/other", "--samples", 3)[0] == 0
    assert not loaded


def test_a_stray_checkpoint_of_a_job_is_refused_and_a_requeued_job_goes_on(fit, slurm, monkeypatch):
    assert fit("--name", "a")[0] == fit("--name", "whole", "--trainer.max_epochs", 4)[0] == 0
    stray = Path("runs/b/hpc_ckpt_1.ckpt")
    stray.parent.mkdir()
    shutil.copy("runs/a/checkpoints/last.ckpt", stray)
    code, _, error = fit("--name", "b")
    assert_one_line(code, error, "runs/b/hpc_ckpt_1.ckpt would be resumed without a request")
    assert [*stray.parent.iterdir()] == [stray]
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")  # saved in the first epoch, from which it begins anew
    assert fit("--name", "b")[0] == 0
    assert curve(Path("runs/b"), "val/elbo") == curve(Path("runs/a"), "val/elbo")
    shutil.copy("runs/a/checkpoints/last.ckpt", stray)
    assert fit("--name", "b", "--trainer.max_epochs", 4)[0] == 0
    assert [epoch for epoch, _ in curve(Path("runs/b"), "val/elbo")] == [0, 1, 2, 3]
    monkeypatch.delenv("SLURM_RESTART_COUNT")
    code, _, error = fit("--name", "b")
    assert_one_line(code, error, "run runs/b exists; resume it")


def test_files_of_lightnings_callbacks_lie_in_the_runs_own_folder(fit):
    more = ["--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.save_top_k=-1", "--trainer.logger=false"]
    assert fit("--name", "a", *more)[0] == fit("--name", "b", *more)[0] == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == ["a", "b"]
    assert len(list(Path("runs/a/checkpoints").iterdir())) == 4


def test_a_training_of_nothing_is_an_error(fit):
    code, _, error = fit("--trainer.max_time", "00:00:00:00")
    assert_one_line(code, error, "nothing was trained: ")
    assert not RUN.exists()


NAMES = ["1e3", "-2E-4", "1_0e5", "010", "1:30", "null", "true", "~x", "#x", "2020-01-01", "a: b", "[a]", "'q'"]


@pytest.mark.parametrize("name", first(NAMES, 3))
def test_a_run_may_have_any_name(name, fit, cli):
    one_step = ["--trainer.limit_train_batches", 1, "--trainer.max_epochs"]
    assert fit(f"--name={name}", *one_step, 1)[0] == 0
    folder = Path("runs", name)
    code, _, error = cli("fit", "--ckpt_path", folder, *one_step, 2)
    assert code == 0, error
    assert [path.name for path in Path("runs").iterdir()] == [name]
    assert len(rows(folder)) == 2
    assert yaml.safe_load((folder / "config.yaml").read_text())["name"] == name


def test_the_home_directory_has_a_short_name_everywhere(fit, cli, workdir, monkeypatch):
    monkeypatch.setenv("HOME", str(workdir / "home"))
    Path("home.yaml").write_text("trainer: {default_root_dir: ~/runs}\n")
    assert fit("-c", "home.yaml", "--name", "a")[0] == 0
    assert fit("--trainer.default_root_dir=~/runs", "--name=b", "--model.start=~/runs/a")[0] == 0
    assert cli("fit", "--ckpt_path=~/runs/b", "--trainer.max_epochs", 3)[0] == 0
    assert cli("sample", "~/runs/b", "--output=~/x.png")[0] == 0
    assert cli("export", "~/runs/b", "--to", "~/exported")[0] == 0
    assert sorted(path.name for path in Path("home").iterdir()) == ["exported", "runs", "x.png"]
    assert len(curve(Path("home/runs/b"), "val/elbo")) == 3
    assert not Path("~").exists()


def test_spawned_processes_can_take_over_all_of_a_training_without_a_terminal(workdir):
    plan = Plan(["-c", QUICKSTART, "--trainer.accelerator", "cpu"])
    trainer = _trainer(plan, ())
    assert plan.module.recorder.epoch_sinks
    sinks = pickle.loads(pickle.dumps((trainer.callbacks, plan.module)))[1].recorder.epoch_sinks
    assert len(sinks) == len(plan.module.recorder.epoch_sinks)


def test_a_log_has_a_line_an_epoch_and_the_best_one_at_the_end(fit):
    code, out, _ = fit("--trainer.enable_model_summary", "true")
    assert code == 0
    lines = out.splitlines()
    assert [line.split(",")[0].split(":")[0] for line in lines if line.startswith("epoch ")] == [
        "epoch 1/2",
        "epoch 2/2",
    ]
    assert any(re.fullmatch(r"\| flow +\| +IAF, 4 layers \| +[\d,]+ \|", line) for line in lines)
    values = dict(curve(RUN, "val/elbo"))
    best = max(values, key=values.get)
    assert lines[-1] == f"best val/elbo {values[best]:.2f} nats in epoch {best + 1} of 2; checkpoint: {BEST}"
    assert "ended within the warm-up" not in out
    assert not [line for line in lines if "TPU" in line or "FLOPs" in line or "anonymous" in line]


def test_a_warm_up_that_does_not_end_is_told(fit):
    assert "ended within the warm-up of the KL: train" in fit("--model.objective_options.warmup_epochs", 9)[1]


def test_validate_and_test_report_a_trained_run(run, cli):
    code, out, error = cli("validate", "--ckpt_path", BEST)
    assert code == 0, error
    assert "val/elbo" in out
    code, out, error = cli("test", "--ckpt_path", BEST)
    assert code == 0, error
    assert "test/elbo" in out
    for command in ("test", "evaluate"):
        code, _, error = cli(command, RUN, "--trainer.accelerator", "cpu", "--trainer.devices", 99)
        assert_one_line(code, error, "trainer.devices 99 are more processes than this machine can run")


def test_predict_writes_one_draw_for_each_test_image(run, cli):
    assert cli("predict", "--ckpt_path", BEST)[0] == 0
    assert torch.load(RUN / "latents.pt").shape == (256, 16)


@pytest.mark.parametrize("count", [1, 20])
def test_sample_draws_a_png(count, run, cli):
    code, out, error = cli("sample", RUN, "--count", count)
    assert code == 0, error
    assert Path(out.strip()).read_bytes().startswith(b"\x89PNG")
    assert cli("sample", RUN, "--output", "mine.png")[0] == 0
    assert Path("mine.png").is_file()


def test_without_a_logger_the_run_still_leaves_its_checkpoints_and_metrics(fit):
    assert fit("--trainer.logger", "false", "--trainer.log_every_n_steps", 4)[0] == 0
    assert BEST.is_file()
    assert [row["epoch"] for row in rows()] == ["0", "1"]
    assert all(row["val/elbo"] and row["train/elbo"] and row["seconds"] for row in rows())
    assert [int(row["step"]) for row in rows(name="steps")] == [4, 8, 12, 16, 20, 24, 28, 32, 36, 40]


def test_lightnings_moving_average_is_usable_from_a_config(fit):
    Path("ema.yaml").write_text(
        "trainer:\n  callbacks:\n  - class_path: pytorch_lightning.callbacks.EMAWeightAveraging\n"
        "    init_args: {decay: 0.9}\n"
    )
    assert fit("-c", "ema.yaml")[0] == 0
    assert "averaging_state" in torch.load(LAST, weights_only=True)


def test_a_flow_of_ones_own_trains_from_the_command_line(fit):
    arguments = ["--model.flow", "tests.helpers.own:StretchFlow"]
    code, _, error = fit(*arguments)
    assert code == 0, error
    assert Path("runs/digits-stretchflow-4-seed0/checkpoints/best.ckpt").is_file()


def test_a_diverged_run_says_which_terms_and_exits_with_1(fit):
    code, _, error = fit("--model.lr", 1e30, "--model.schedule", "constant")
    assert code == 1
    assert re.search(r"nfvae: error: loss is not finite in step \d+ of training; not finite: \w+", error)


MISTAKES = {
    "flow": (["--model.flow", "plannar"], "unknown flow 'plannar'; known flows: actnorm, batchnorm, bnaf"),
    "option": (
        ["--model.flow_options.hiden", "3"],
        "unknown option 'hiden' of flow 'iaf'; known options: univariate, hidden",
    ),
    "dataset": (["--data.dataset", "mnits"], "unknown dataset 'mnits'; known datasets: mnist"),
    "depth": (["--model.depth", "-1"], "a flow's depth must be at least 1; got -1"),
    "latent": (["--model.latent", "0"], "latent must be at least 1"),
    "checkpoint": (["--ckpt_path", "no/such.ckpt"], "there is no checkpoint no/such.ckpt"),
    "not a checkpoint": (["--ckpt_path", QUICKSTART], "is not a checkpoint of nfvae, or is damaged"),
    "key": (["--model.latnt", "3"], r"unrecognized arguments: --model.latnt 3; did you mean --model.latent\?"),
    "abbreviation": (["--model.dept", "3"], r"unrecognized arguments: --model.dept 3; did you mean --model.depth\?"),
    "module": (["--model.flow", "scaled:X"], r"No module named 'scaled'; the folder .* has to be in PYTHONPATH"),
    "callback": (["--trainer.callbacks+=BackboneFinetuning"], "trainer.callbacks: BackboneFinetuning does not fit"),
    "type": (["--model.depth", "deep"], "model.depth"),
    "config": (["-c", "no-such.yaml"], "there is no config no-such.yaml"),
    "binarization": (["--data.binarization", "fuzzy"], "unknown binarization 'fuzzy'"),
    "data": (
        ["--data.dataset", "mnist", "--data.root", "nowhere", "--data.download", "false"],
        "cannot read MNIST under nowhere .*NFVAE_DATA elsewhere",
    ),
    "rate": (["--model.lr", "-1"], "lr must be above 0; got -1.0"),
    "validation": (
        ["--trainer.check_val_every_n_epoch", "9"],
        "check_val_every_n_epoch 9 is never reached: max_epochs 2",
    ),
    "accelerator": (["--trainer.accelerator", "gpu"], "gpu|GPU"),
}


def assert_one_line(code, error, message):
    lines = [line for line in error.splitlines() if "nfvae: error:" in line]
    assert code == 2
    assert len(lines) == 1
    assert re.search(message, lines[0])
    assert "Traceback" not in error


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_gets_one_line_and_exit_code_2(arguments, message, fit):
    code, _, error = fit(*arguments)
    assert_one_line(code, error, message)
    assert not list(Path().rglob("*.ckpt"))


def test_a_misspelt_key_of_a_config_gets_one_line(fit):
    Path("bad.yaml").write_text("model: {latnt: 3}\n")
    code, _, error = fit("-c", "bad.yaml")
    assert_one_line(code, error, "'model' does not accept option 'latnt'")


def test_a_corrupt_idx_file_gets_one_line(fit, tmp_path):
    folder = write_mnist(tmp_path / "data")
    (folder / "train-images-idx3-ubyte").write_bytes(b"garbage")
    code, _, error = fit("--data.dataset", "mnist", "--data.root", tmp_path / "data")
    assert_one_line(code, error, "cannot read MNIST under .*; put its four IDX files into")


def test_a_checkpoint_of_another_latent_size_gets_one_line_and_is_kept(run, fit):
    before = {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file()}
    code, _, error = fit("--ckpt_path", LAST, "--model.latent", 5)
    assert_one_line(code, error, "the checkpoint has latent 16 where the model has 5")
    code, _, error = fit("--ckpt_path", LAST, "--model.latent", 5, "--name", "other")
    assert_one_line(code, error, "the checkpoint has latent 16 where the model has 5")
    code, _, error = fit(
        "--ckpt_path", LAST, "--data.dataset", "mnist", "--data.root", "no", "--data.download", "false"
    )
    assert_one_line(code, error, r"the checkpoint has shape \[8, 8\] where the model has \[28, 28\]")
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sample", "runs/none"], "there is no run runs/none"),
        (["sample"], "the following arguments are required: RUN"),
        (["sample", "x", "--cont", "3"], r"unrecognized arguments: --cont 3; did you mean --count\?"),
        (["sample", "runs/none", "--count", "x"], "invalid int value: 'x'"),
        (["test"], "nfvae test needs a trained model: nfvae test RUN, or --ckpt_path"),
        (["frobnicate"], "unknown command 'frobnicate'; known commands: fit"),
        (["plots"], "unknown command 'plots'; .*; did you mean plot?"),
    ],
)
def test_other_commands_name_their_mistakes_too(arguments, message, cli):
    code, _, error = cli(*arguments)
    assert_one_line(code, error, message)


def test_sample_of_no_images_gets_one_line(run, cli):
    code, _, error = cli("sample", RUN, "--count", 0)
    assert_one_line(code, error, "--count must be at least 1; got 0")


def test_traceback_is_there_for_who_asks(fit, monkeypatch):
    monkeypatch.setenv("NFVAE_TRACEBACK", "1")
    with pytest.raises(ValueError, match="unknown flow"):
        fit("--model.flow", "plannar")


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version(flag, capsys):
    with pytest.raises(SystemExit) as caught:
        main([flag])
    assert caught.value.code == 0
    assert "nfvae" in capsys.readouterr().out


def test_an_epoch_without_a_validation_has_no_values_of_an_earlier_one(fit):
    code, out, _ = fit("--trainer.max_epochs", 4, "--trainer.check_val_every_n_epoch", 3, "--name", "third")
    assert code == 0
    rows = read_rows(Path("runs/third/metrics.csv"))
    assert ["val/elbo" in row for row in rows] == [False, False, True, False]
    assert "best val/elbo" in out
    assert "in epoch 3 of 4" in out
    assert torch.load("runs/third/checkpoints/best.ckpt", weights_only=True)["epoch"] == 2
    assert [line for line in out.splitlines() if line.startswith("epoch")][3].count("val/elbo") == 0


def test_a_validation_belongs_to_the_weights_that_are_saved(fit, cli):
    """The decoder alone is judged, by a part of the metrics that is the same whatever noise is drawn."""
    code, _, error = fit("--trainer.val_check_interval", 0.55, "--name", "part")
    assert code == 2
    assert "an epoch of 20 batches must end with a validation" in error
    assert not Path("runs/part").exists()
    assert fit("--trainer.val_check_interval", 0.5, "--model.val_samples", 50, "--name", "half")[0] == 0
    rows = read_rows(Path("runs/half/metrics.csv"))
    best = max(rows, key=lambda row: row["val/elbo"])
    assert cli("validate", "runs/half", "--model.val_samples", 50)[0] == 0
    assert json.loads(Path("runs/half/validate.json").read_text())["val/nll"] == pytest.approx(
        best["val/nll"], rel=1e-5
    )


def test_a_training_that_ends_before_its_first_validation_is_told(fit, cli):
    code, out, _ = fit("--trainer.max_steps", 5, "--name", "short")
    assert code == 0
    assert "no epoch ended with a validation; checkpoint: runs/short/checkpoints/last.ckpt" in out
    code, _, error = cli("evaluate", "runs/short", "--samples", 10)
    assert_one_line(
        code, error, "run runs/short has no best.ckpt, which a validation makes; name runs/short/checkpoints/last"
    )
    assert cli("evaluate", "runs/short/checkpoints/last.ckpt", "--samples", 10)[0] == 0


@pytest.mark.parametrize("name", ["LearningRateFinder", "BatchSizeFinder"])
def test_a_search_within_a_run_is_refused(name, fit):
    code, _, error = fit(f"--trainer.callbacks+={name}", "--name", "search")
    assert code == 2
    assert f"{name} trains trial steps within the run" in error
    assert not Path("runs/search").exists()


def test_averaged_weights_that_no_checkpoint_holds_are_refused(fit):
    code, _, error = fit("--trainer.callbacks+=StochasticWeightAveraging", "--trainer.callbacks.swa_lrs", 1e-3)
    assert code == 2
    assert "take EMAWeightAveraging" in error


STOP = "{class_path: EarlyStopping, init_args: {monitor: val/elbo, mode: max, patience: 1, min_delta: 100.0}}"


@pytest.mark.parametrize(
    "ends",
    first(
        [
            ["--trainer.max_epochs", 9, "--trainer.callbacks", f"[{STOP}]"],
            ["--trainer.max_epochs", 9, "--trainer.max_steps", 25],
            ["--trainer.max_epochs", 9999, "--trainer.max_time", "00:00:00:02"],
        ]
    ),
    ids=["EarlyStopping", "max_steps", "max_time"],
)
def test_a_training_that_has_ended_is_not_trained_further(ends, fit, cli):
    assert fit(*ends, "--name", "ended")[0] == 0
    trained = Path("runs/ended/metrics.csv").read_bytes()
    last = Path("runs/ended/checkpoints/last.ckpt").read_bytes()
    code, out, error = cli("fit", "--ckpt_path", "runs/ended")
    assert code == 0, error
    assert "run runs/ended has ended" in out
    assert "best.ckpt" in out
    Path("ended.yaml").write_text("name: ended\n")
    fitted = ["compare", "ended.yaml", "-c", QUICKSTART, "--fit", "--samples", 10]
    assert cli(*fitted, *ends, "--trainer.enable_model_summary", "false")[0] == 0
    assert Path("runs/ended/metrics.csv").read_bytes() == trained
    assert Path("runs/ended/checkpoints/last.ckpt").read_bytes() == last
    epochs = len(read_rows(Path("runs/ended/metrics.csv")))
    further = ["--trainer.max_epochs", epochs + 1, "--trainer.max_steps", -1, "--trainer.max_time", "null"]
    assert cli("fit", "--ckpt_path", "runs/ended", *further)[0] == 0
    assert len(read_rows(Path("runs/ended/metrics.csv"))) > epochs


def early(patience):
    given = f"{{monitor: val/elbo, mode: max, patience: {patience}, min_delta: 100.0}}"
    return ["--trainer.callbacks", f"[{{class_path: EarlyStopping, init_args: {given}}}]"]


def test_a_stop_is_told_and_a_raised_limit_goes_on_with_the_patience_that_is_set(fit, cli):
    code, out, _ = fit("--trainer.max_epochs", 9, *early(1), "--name", "early")
    assert code == 0
    assert "stopped early: val/elbo did not improve in the last 1 validations" in out
    assert len(read_rows(Path("runs/early/metrics.csv"))) == 2
    assert cli("fit", "--ckpt_path", "runs/early", "--trainer.max_epochs", 10, *early(3))[0] == 0
    assert len(read_rows(Path("runs/early/metrics.csv"))) == 5  # three more, not one


@pytest.mark.parametrize("name", ["EarlyStopping", "ModelCheckpoint"])
def test_a_callback_that_takes_worse_for_better_is_refused(name, fit):
    code, _, error = fit(f"--trainer.callbacks+={name}", "--trainer.callbacks.monitor", "val/elbo", "--name", "wrong")
    assert_one_line(code, error, f"{name}: val/elbo is better the higher: give it mode max")


def test_a_name_that_begins_with_a_dot_is_refused(fit):
    code, _, error = fit("--name", ".digits.replaced")
    assert_one_line(code, error, "a run's name must not begin with a dot")
