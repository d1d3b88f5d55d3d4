"""Signals, kill -9 before every file operation, and full disks: nothing is lost, and the same command goes on."""

import csv
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from nfvae.__main__ import main
from nfvae.commands import COMMANDS
from nfvae.runs import Run, RunFolder
from nfvae.training import FlowVAE
from tests.conftest import QUICKSTART
from tests.helpers.kills import in_a_child
from tests.helpers.sweeps import exhaustive, first, sweep

TINY = [
    *("--model.latent", 2, "--model.context", 2, "--model.flow", "planar", "--model.depth", 1),
    *("--model.encoder_options.hidden", "[8]", "--model.decoder_options.hidden", "[8]", "--trainer.max_epochs", 2),
    *("--trainer.limit_train_batches", 2, "--trainer.log_every_n_steps", 1, "--trainer.enable_model_summary", "false"),
]
FIT = ["fit", "-c", Path(QUICKSTART).resolve(), *TINY, "--name", "a"]
RESUME = ["fit", "--ckpt_path", "runs/a", "--trainer.max_epochs", 4]
EVALUATE = ["evaluate", "runs/a", "--samples", 30]
FOLDER = RunFolder("runs/a")
OTHER_DISK = Path("/dev/shm")


@pytest.fixture(params=first(["one disk", "two disks"]))
def disk(request, workdir, monkeypatch, tmp_path_factory):
    """An empty folder, on the disk that holds temporary files, or on another one."""
    if request.param == "two disks":
        if not OTHER_DISK.is_dir() or OTHER_DISK.stat().st_dev == workdir.stat().st_dev:
            pytest.skip("there is one disk here")
        elsewhere = OTHER_DISK / f"nfvae-{os.getpid()}"
        elsewhere.mkdir()
        monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("TMPDIR", str(workdir))
    yield request.param
    monkeypatch.chdir(workdir)
    shutil.rmtree(OTHER_DISK / f"nfvae-{os.getpid()}", ignore_errors=True)


def state():
    """All that a training or an evaluation leaves, but for times."""
    found = {}
    for file in (FOLDER.metrics, FOLDER.steps):
        with file.open(newline="") as lines:
            found[file.name] = [{**row, "seconds": None} for row in csv.DictReader(lines)]
    for checkpoint in (FOLDER.best, FOLDER.last):
        content = Run(checkpoint).checkpoint
        weights = {name: value.tolist() for name, value in content["state_dict"].items()}
        found[checkpoint.name] = (content["epoch"], weights)
    found["config"] = FOLDER.settings()
    for file in sorted(FOLDER.path.glob("evaluation-*.json")):
        summary = json.loads(file.read_text())
        found[file.name] = {name: summary[name] for name in ("nll", "elbo", "csv_sha256", "images")}
        found[file.stem + ".csv"] = file.with_suffix(".csv").read_text()
    found["files"] = sorted(str(path) for path in Path("runs").rglob("*") if ".lock" not in path.name)
    return found


@pytest.fixture(scope="module", autouse=True)
def _warm(tmp_path_factory):
    """Import in this process what the children need, as each would import it again."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("warm"))
    try:
        assert main([str(word) for word in FIT]) == 0
        assert main([str(word) for word in EVALUATE]) == 0
    finally:
        os.chdir(before)


def well(command):
    """Run a command line in a child that comes to a good end."""
    ended = in_a_child(command)
    assert ended.code == 0, ended.output
    return ended


def begin(source):
    """Make the folder of runs a copy of another one, or an empty one."""
    shutil.rmtree("runs", ignore_errors=True)
    if source:
        shutil.copytree(source, "runs")


def survives(command, again, source=None, every=1):
    """Kill a command before one in `every` of its file operations; `again()` must lead to where it would have led."""
    begin(source)
    operations = well(command).operations
    expected = state()
    assert operations > 15
    for kill_at in range(1, operations + 1, every):
        begin(source)
        assert in_a_child(command, kill_at).code == -9, kill_at
        well(again())
        assert state() == expected, kill_at


def start_or_resume():
    return ["fit", "--ckpt_path", "runs/a"] if FOLDER.is_trained else FIT


@pytest.mark.parametrize("every", first([24, 2]))
def test_a_training_survives_a_kill_at_any_moment(every, disk):
    survives(FIT, start_or_resume, every=every if disk == "one disk" else 2 * every)


@pytest.fixture
def trained(workdir):
    """The folder of runs after a training, to be copied."""
    well(FIT)
    shutil.move("runs", "trained")
    return "trained"


@exhaustive
def test_a_resumed_training_survives_a_kill_at_any_moment(trained):
    survives(RESUME, lambda: RESUME, trained, every=2)


@pytest.mark.parametrize("every", first([24, 2]))
def test_an_evaluation_survives_a_kill_at_any_moment(every, trained):
    survives(EVALUATE, lambda: EVALUATE, trained, every)
    assert not list(FOLDER.path.glob("*.partial"))


@exhaustive
def test_a_training_that_replaces_another_survives_a_kill_at_any_moment(trained):
    """At any moment there is the old run, here or aside, or a checkpoint of the new one."""
    replace = [*FIT, "--overwrite", "true", "--seed_everything", 5]
    begin(trained)
    old = FOLDER.best.read_bytes()
    operations = well(replace).operations
    new = state()
    for kill_at in range(1, operations + 1, 3):
        begin(trained)
        assert in_a_child(replace, kill_at).code == -9
        aside = RunFolder("runs/.a.replaced").best
        assert FOLDER.best.is_file() or aside.read_bytes() == old, kill_at
        well(replace)
        assert state() == new, kill_at


STOPS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}
SMALL = ["--limit", 1, "--chains", 2, "--temperatures", 3]
WRITING = {
    "fit": [*FIT, "--name", "b"],
    "validate": ["validate", "runs/a"],
    "test": ["test", "runs/a", "--model.test_samples", 2],
    "predict": ["predict", "runs/a"],
    "evaluate": EVALUATE,
    "gap": ["gap", "runs/a", *SMALL],
    "compare": ["compare", "b.yaml", "--fit", "-c", Path(QUICKSTART).resolve(), "--samples", 2, *TINY],
    "export": ["export", "runs/a", "--to", "runs/exported"],
    "plot": ["plot", "samples", "runs/a"],
    "encode": ["encode", "runs/a", "--input", "in.npy"],
    "score": ["score", "runs/a", "--input", "in.npy", "--estimator", "importance", "--samples", 2],
    "impute": ["impute", "runs/a", "--input", "holes.npz", "--samples", 30],
    "sample": ["sample", "runs/a", "--count", 3, "--output", "runs/images"],
}


def contents():
    """Every file but locks, and the one that says how long things took."""
    return {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file() and ".lock" not in path.name}


def test_every_command_is_stopped():
    assert WRITING.keys() | {"classify"} == COMMANDS.keys()  # it needs labels, and writes as score does


@pytest.mark.parametrize("name", sweep(WRITING, lambda name: name in ("fit", "encode")))
def test_a_signal_before_a_file_takes_its_name_leaves_no_litter_and_harms_nothing(name, trained):
    np.save("in.npy", np.zeros((3, 8, 8)))
    np.savez("holes.npz", images=np.zeros((3, 8, 8)), mask=np.tri(8, 8)[None].repeat(3, 0))
    Path("b.yaml").write_text("name: b\n")
    begin(trained)
    before = contents()
    well(WRITING[name])
    expected = contents().keys()
    assert expected > before.keys()
    for stop, code in STOPS.items():
        begin(trained)
        ended = in_a_child(WRITING[name], "os.rename", stop=stop)
        assert ended.code == code, ended.output
        assert "Traceback" not in ended.output
        assert (stop == signal.SIGKILL) == ("nfvae: interrupted" not in ended.output)
        left = contents()
        assert before.items() <= left.items()
        if stop != signal.SIGKILL:
            assert not [path for path in left if path.suffix == ".tmp"]
        else:
            well(WRITING[name])
            assert contents().keys() == expected


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", first(["validate", "test", "predict"]))
def test_a_signal_in_a_loop_of_lightning_ends_the_command_alike(name, stop, trained, monkeypatch):
    begin(trained)
    before = contents()
    for step in ("validation_step", "test_step", "predict_step"):
        monkeypatch.setattr(FlowVAE, step, lambda *_: os.kill(os.getpid(), stop))
    ended = in_a_child(WRITING[name])
    assert (ended.code, ended.output.splitlines()[-1]) == (STOPS[stop], "nfvae: interrupted")
    assert "Traceback" not in ended.output
    assert contents() == before


@pytest.mark.parametrize("bytes_of_a_file", first([1_000, 100, 12_000]))
@pytest.mark.parametrize("command", [RESUME, EVALUATE], ids=["resume", "evaluate"])
def test_a_write_that_fails_costs_one_line_and_nothing_else(command, bytes_of_a_file, trained):
    begin(trained)
    checkpoints = list(Path("runs").rglob("*.ckpt"))
    ended = in_a_child(command, largest_file=bytes_of_a_file)
    assert (ended.code, "Traceback" in ended.output) == (2, False), ended.output
    assert "nfvae: error: [Errno 27] File too large" in ended.output
    for path in checkpoints:
        Run(path)
    assert not list(Path("runs").rglob("*.tmp"))
    well(command)


def test_a_full_disk_costs_one_line_and_nothing_else(workdir, monkeypatch):
    small = workdir / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", small], capture_output=True).returncode:
        pytest.skip("this machine mounts nothing")
    try:
        monkeypatch.chdir(small)
        Path("filler").write_bytes(bytes(2**20 - 24 * 2**10))
        ended = in_a_child(FIT)
        assert ended.code == 2, ended.output
        assert "nfvae: error: [Errno 28] No space left on device" in ended.output
        Path("filler").unlink()
        well(start_or_resume())
        assert state()["last.ckpt"][0] == 1
    finally:
        monkeypatch.chdir(workdir)
        subprocess.run(["umount", small], check=True)
