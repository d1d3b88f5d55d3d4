"""Several processes on one list of runs, and one run on several nodes."""

import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from nfvae.commands import sweep
from nfvae.commands.sweep import run_all
from nfvae.runs.locks import Busy, locked
from tests.conftest import QUICKSTART, in_the_background
from tests.helpers.sweeps import exhaustive

SMALL = {
    "model": {"latent": 4, "context": 4, "encoder_options": {"hidden": [16]}},
    "data": {"dataset": "digits", "binarization": "threshold", "batch_size": 200},
    "trainer": {"max_epochs": 4},
}
COMPARE = ["--fit", "-c", "base.yaml", "--samples", "30", "--limit", "40", "--trainer.enable_progress_bar", "false"]


def test_what_another_process_does_is_left_until_it_is_done(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "_PAUSE", 0.01)
    done, held = [], locked(tmp_path / "b", "worked on", "sweep")
    held.__enter__()

    def work(name):
        done.append(name)
        if done == ["a", "c"]:
            held.__exit__(None, None, None)  # the other process ends

    run_all({tmp_path / name: lambda name=name: work(name) for name in "abc"})
    assert done == ["a", "c", "b"]
    assert capsys.readouterr().out == f"{tmp_path / 'b'} is being worked on by process {os.getpid()} on " + (
        f"{socket.gethostname()}: waiting until that ends\n"
    )


def test_a_run_that_somebody_trains_alone_is_waited_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "_PAUSE", 0.01)
    tries = iter([Busy("a is being trained by process 1: wait"), Busy("a is being trained by process 1: wait"), None])

    def work():
        if error := next(tries):
            raise error

    run_all({tmp_path / "a": work})
    assert next(tries, "none left") == "none left"
    assert capsys.readouterr().out.count("waiting until that ends") == 1
    assert not list(tmp_path.iterdir())


def test_what_diverges_does_not_keep_the_others_from_their_turn(tmp_path, capsys):
    done = []

    def diverge():
        raise FloatingPointError("the loss is not finite")

    with pytest.raises(FloatingPointError, match="the loss is not finite"):
        run_all({tmp_path / "a": diverge, tmp_path / "b": lambda: done.append("b")})
    assert done == ["b"]
    assert capsys.readouterr().out == f"{tmp_path / 'a'}: the loss is not finite\n"


@pytest.fixture
def experiments(workdir):
    """Four configs over a base."""
    Path("base.yaml").write_text(yaml.safe_dump(SMALL))
    for flow in ("none", "planar", "radial", "cholesky"):
        Path(f"{flow}.yaml").write_text(yaml.safe_dump({"model": {"flow": flow, "depth": 1}}))
    return [f"{flow}.yaml" for flow in ("none", "planar", "radial", "cholesky")]


def compare(experiments, *more):
    return [sys.executable, "-m", "nfvae", "compare", *experiments, *COMPARE, *more]


def epochs(folder):
    return [int(row["epoch"]) for row in metrics(folder)]


def metrics(folder):
    """What the training logged of each epoch, without the time it took."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [{**row, "seconds": ""} for row in csv.DictReader(file)]


@exhaustive
def test_two_workers_train_each_run_once_and_end_with_the_same_table(experiments):
    command = compare(experiments, "--format", "json")
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outs = [worker.communicate(timeout=240) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outs
    trained = [name for _, error in outs for name in re.findall(r"training runs/(\S+)", error)]
    assert sorted(trained) == sorted(path.name for path in Path("runs").iterdir() if path.is_dir())
    assert len(trained) == 4
    tables = [json.loads(out) for out, _ in outs]
    assert tables[0] == tables[1]
    assert all(epochs(Path("runs", name)) == [0, 1, 2, 3] for name in trained)
    assert not list(Path("runs").glob(".*.lock"))


def test_what_a_killed_worker_leaves_is_taken_over(experiments, cli):
    with in_the_background(*compare(experiments[:2], "--trainer.max_epochs", "3000")[3:]) as worker:
        deadline = time.monotonic() + 120
        while not (last := list(Path("runs").glob("*/checkpoints/last.ckpt"))) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(worker.pid, signal.SIGKILL)
        worker.join(60)
    (run,) = {path.parents[1] for path in last}
    so_far = len(epochs(run))
    longer = ["--trainer.max_epochs", so_far + 2]
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["trainer"]["max_epochs"] = so_far + 2
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    code, out, error = cli(*compare(experiments[:2], *longer)[3:])
    assert code == 0, error
    assert out.count("training runs/") == 2
    assert epochs(run) == list(range(so_far + 2))


def test_a_training_that_could_not_begin_is_refused_before_the_first_one(experiments, cli):
    for settings, said in (
        ({"flow": "nonne"}, "unknown flow 'nonne'"),
        ({"start": "runs/nope"}, "is no run runs/nope"),
    ):
        Path("bad.yaml").write_text(yaml.safe_dump({"name": "bad", "model": settings}))
        code, _, error = cli(*compare([experiments[0], "bad.yaml"])[3:])
        assert code == 2
        assert error.startswith("nfvae: error: runs/bad: ")
        assert said in error
        assert not Path("runs").exists()


def test_a_run_that_diverges_is_named_and_keeps_its_wandb_to_itself(experiments, cli, no_wandb_account):
    Path("bad.yaml").write_text(yaml.safe_dump({"name": "bad", "model": {"flow": "none", "lr": 1e30}}))
    code, out, error = cli(*compare(["bad.yaml", experiments[1]])[3:])
    assert code == 1
    assert error.splitlines()[-1].startswith("nfvae: error: runs/bad: loss is not finite")
    assert "| runs/digits-planar-1-seed0 |" in out, "what was evaluated is told"
    assert list(Path("runs/digits-planar-1-seed0/wandb").glob("offline-run-*"))


def on_two_nodes(*arguments):
    """Run a command line by torchrun as on two machines, one process each, that meet on the loopback interface."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{free.getsockname()[1]}"
    start = f"--nnodes 2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-id a --rdzv-endpoint {where} -m nfvae".split()
    nodes = ["--trainer.num_nodes", "2", "--trainer.devices", "1"]
    ddp = ["--trainer.accelerator", "cpu", "--trainer.strategy", "ddp"]
    command = [sys.executable, "-m", "torch.distributed.run", *start, *map(str, arguments), *nodes, *ddp]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outs = [each.communicate(timeout=300) for each in both]
    assert [each.returncode for each in both] == [0, 0], outs
    return "".join(out for out, _ in outs)


@exhaustive
def test_two_nodes_train_as_two_processes_do_and_evaluate_as_one(cli, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    fit = ["fit", "-c", Path(QUICKSTART).resolve(), "--trainer.max_epochs", "2"]
    on_two_nodes(*fit, "--name", "nodes")
    two = ["--trainer.devices", "2", "--trainer.accelerator", "cpu", "--trainer.strategy", "ddp"]
    command = [sys.executable, "-m", "nfvae", *map(str, fit), "--name", "processes", *two]
    subprocess.run(command, check=True, capture_output=True, timeout=240)
    assert metrics(Path("runs/nodes")) == metrics(Path("runs/processes"))
    shutil.copytree("runs/nodes", "runs/alone")
    evaluate = ["--estimator", "importance", "annealed", "--samples", "60", "--chains", "2", "--temperatures", "12"]
    out = on_two_nodes("evaluate", "runs/nodes", *evaluate)
    assert out.count("written: ") == 2
    assert cli("evaluate", "runs/alone", *evaluate)[0] == 0
    for name in ("importance-60", "annealed-2x12"):
        values = [Path("runs", run, f"evaluation-test-{name}.csv").read_text() for run in ("nodes", "alone")]
        assert values[0] == values[1]
