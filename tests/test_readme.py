"""The README says what is true: its commands run as printed."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from nfvae.flows import FLOWS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
COMMANDS = list(
    dict.fromkeys(
        line for kind, block in BLOCKS if not kind for line in block.splitlines() if line.startswith("nfvae ")
    )
)
TRAINED = "runs/mnist-iaf-4-seed0"


def test_the_two_commands_come_first():
    assert BLOCKS[0][1] == "pip install -e . && nfvae fit -c configs/quickstart.yaml\n"
    assert BLOCKS[1][1] == 'pip install -e ".[dev]" && pytest\n'


def test_the_continuous_integration_runs_them_as_printed():
    script = (ROOT / ".ci/run").read_text().replace("pip install --quiet", "pip install")
    for _, command in BLOCKS[:2]:
        assert command in script


def test_the_python_example_runs(workdir, mnist_root, monkeypatch):
    (example,) = (block for kind, block in BLOCKS if kind == "python")
    monkeypatch.setenv("NFVAE_DATA", str(mnist_root))
    assert "max_epochs=60" in example
    exec(example.replace("max_epochs=60", "fast_dev_run=True"), {})


def expanded(word):
    """A word of a command as the shell, in the repository's root, would give it to the program."""
    if not word.startswith("configs/"):
        return [word]
    return sorted(map(str, ROOT.glob(word)))


def test_the_commands_run(cli, mnist_root, workdir, monkeypatch):
    """Every nfvae line of the README, one after the other, each training one short epoch."""
    monkeypatch.setenv("NFVAE_DATA", str(mnist_root))
    short = ["--trainer.max_epochs", 1, "--trainer.limit_train_batches", 2, "--trainer.limit_val_batches", 1]
    for command in COMMANDS:
        words = [found for word in shlex.split(command)[1:] for found in expanded(word)]
        more = {
            "fit": short,
            "test": ["--trainer.limit_test_batches", 1, "--model.test_samples", 5],
            "evaluate": ["--samples", 20, "--limit", 30],
            "compare": ["--samples", 20],
        }.get(words[0], [])
        more += ["--overwrite", "true"] if "-c" in words else []
        more += [*short, "--limit", 30, "--base", ROOT / "configs/base.yaml", "--seeds", 0] if "--fit" in words else []
        for folder in map(Path, words):
            if folder.match("runs/*-seed0") and not folder.exists():  # the table's other runs
                shutil.copytree(TRAINED, folder)
        code, _, error = cli(*words, *more)
        assert code == 0, (command, error)
    assert Path(TRAINED, "samples-64.png").is_file()
    assert Path(TRAINED, "evaluation-test-20.json").is_file()


@pytest.mark.parametrize("name", FLOWS)
def test_every_flow_is_in_the_table(name):
    assert f"| `{name}` | `{FLOWS[name].__name__}`" in README
