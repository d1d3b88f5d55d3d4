"""What every test shares."""

import os

os.environ["WANDB_MODE"] = "disabled"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import pytest
import torch

from nfvae.__main__ import main
from tests.idx import write_mnist

torch.set_num_threads(1)  # the tests are small, and run in several processes

QUICKSTART = os.path.join(os.path.dirname(__file__), "..", "configs", "quickstart.yaml")


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


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
        quick = ["--trainer.max_epochs", 2, "--trainer.enable_model_summary", "false"]
        return cli("fit", "-c", QUICKSTART, *quick, *arguments)

    return call


@pytest.fixture(scope="session")
def mnist_root(tmp_path_factory):
    """A data root with MNIST files of the real size."""
    root = tmp_path_factory.mktemp("data")
    write_mnist(root)
    return root
