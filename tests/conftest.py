"""What every test shares."""

import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import zlib
from pathlib import Path

os.environ["WANDB_MODE"] = "disabled"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import pytest
import torch

from nfvae.__main__ import main
from tests.helpers.idx import write_mnist

torch.set_num_threads(1)  # the tests are small, and run in several processes

QUICKSTART = os.path.join(os.path.dirname(__file__), "..", "configs", "quickstart.yaml")
QUICK = ["--trainer.max_epochs", 2, "--trainer.enable_model_summary", "false"]


def pytest_addoption(parser):
    parser.addoption("--exhaustive", action="store_true", help="run the sweeps too, which take twenty minutes more")
    parser.addoption("--every", type=int, default=1, help="of the sweeps over flows, run one case in so many")


def pytest_collection_modifyitems(config, items):
    """Leave out what is exhaustive, unless it is asked for."""
    if not config.getoption("exhaustive"):
        left_out = [item for item in items if item.get_closest_marker("exhaustive")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("exhaustive")]
    elif (every := config.getoption("every")) > 1:
        left_out = {item for item in items if is_of_flows(item) and zlib.crc32(item.nodeid.encode()) % every}
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


def is_of_flows(item):
    """Whether a test is part of an exhaustive sweep over flows."""
    return item.get_closest_marker("exhaustive") and "flows" in item.path.parts


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _state_of_nobody(tmp_path_factory):
    """The user's own state folder stays as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.delenv("NFVAE_TRUST", raising=False)
        yield


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_wandb_account(monkeypatch):
    """wandb switched on, for a user who never signed in."""
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", "no-such-file")


@pytest.fixture
def cli(workdir, capfd):
    """Run the command line in an empty folder: cli(*arguments) -> (exit code, standard output, standard error)."""

    def call(*arguments):
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, *capfd.readouterr()

    return call


@pytest.fixture
def fit(cli):
    """Train the quickstart for a few epochs, or as told."""

    def call(*arguments):
        return cli("fit", "-c", QUICKSTART, *QUICK, *arguments)

    return call


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory):
    """A folder in which the quickstart has been trained for two epochs."""
    folder = tmp_path_factory.mktemp("quickstart")
    with contextlib.chdir(folder):
        assert main(["fit", "-c", os.path.abspath(QUICKSTART), *map(str, QUICK)]) == 0
    return folder


@pytest.fixture
def run(quickstart, workdir):
    """The run of the quickstart, as `fit()` leaves it."""
    shutil.copytree(quickstart / "runs", "runs")
    (found,) = Path("runs").iterdir()
    return found


@pytest.fixture
def short_gaps(monkeypatch):
    """Gaps whose local fits end after a few steps."""
    for name, short in {"_MOST_ROUNDS": 1, "_STEPS": 3}.items():
        monkeypatch.setattr(f"nfvae.estimators.gaps.{name}", short)


def _command_line(arguments):
    """Run a command line that listens to Ctrl-C, its output in out.txt."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    out = os.open("out.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1), os.dup2(out, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    sys.argv = ["nfvae", *(str(argument) for argument in arguments)]
    sys.exit(main())


@contextlib.contextmanager
def in_the_background(*arguments):
    """Start a command line in a child of this process, which has imported already what the child needs."""
    process = multiprocessing.get_context("fork").Process(target=_command_line, args=(arguments,))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


@pytest.fixture(scope="session")
def mnist_root(tmp_path_factory):
    """A data root with MNIST files of the real size."""
    root = tmp_path_factory.mktemp("data")
    write_mnist(root)
    return root
