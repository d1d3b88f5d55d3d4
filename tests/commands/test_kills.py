"""kill -9 before every file operation, and disks that are full: nothing is lost, and the same command goes on."""

import csv
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from nfvae.__main__ import main
from nfvae.runs import Run, RunFolder
from tests.conftest import QUICKSTART
from tests.helpers.kills import in_a_child

TINY = [
    *("--model.latent", 2, "--model.context", 2, "--model.flow", "planar", "--model.depth", 1, "--name", "a"),
    *("--model.encoder_options.hidden", "[8]", "--model.decoder_options.hidden", "[8]", "--trainer.max_epochs", 2),
    *("--trainer.limit_train_batches", 2, "--trainer.log_every_n_steps", 1, "--trainer.enable_model_summary", "false"),
]
FIT = ["fit", "-c", Path(QUICKSTART).resolve(), *TINY]
RESUME = ["fit", "--ckpt_path", "runs/a", "--trainer.max_epochs", 4]
EVALUATE = ["evaluate", "runs/a", "--samples", 30]
FOLDER = RunFolder("runs/a")
OTHER_DISK = Path("/dev/shm")


@pytest.fixture(params=["one disk", "two disks"])
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


def test_a_training_survives_a_kill_at_any_moment(disk):
    survives(FIT, start_or_resume, every=2 if disk == "one disk" else 4)


@pytest.fixture
def trained(workdir):
    """The folder of runs after a training, to be copied."""
    well(FIT)
    shutil.move("runs", "trained")
    return "trained"


def test_a_resumed_training_survives_a_kill_at_any_moment(trained):
    survives(RESUME, lambda: RESUME, trained, every=2)


def test_an_evaluation_survives_a_kill_at_any_moment(trained):
    survives(EVALUATE, lambda: EVALUATE, trained, every=2)
    assert not list(FOLDER.path.glob("*.partial"))


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


@pytest.mark.parametrize("bytes_of_a_file", [100, 1_000, 12_000])
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
