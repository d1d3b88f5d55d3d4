"""The README and the docs say what is true: their commands and examples run as printed."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nfvae.commands import COMMANDS
from nfvae.estimators import BUDGETS, gaps
from nfvae.flows import FLOWS
from nfvae.runs import RunFolder
from tests.helpers.own_images import letters, write_arrays, write_pictures

ROOT = Path(__file__).resolve().parent.parent
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]}
README = PAGES["README.md"]
BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
TRAINED = "runs/mnist-gated-iaf-4-seed0"
LIMITED = ["--samples", 20, "--limit", 30]
USUAL = ["--chains", 4, "--temperatures", 200]  # though budgets are short here
SHORT = ["--trainer.max_epochs", 1, "--trainer.limit_train_batches", 2, "--trainer.limit_val_batches", 1]
FEW, MOST = ("iaf", "none", "planar"), 4  # configs of a folder with more than so many
CONVOLUTIONS = {"conv.yaml", "resnet.yaml"}
ASSIGNED = re.compile(r'^(\w+)="(.*)"$', re.MULTILINE)
PLACEHOLDER = re.compile(r"(?<!:)\b[A-Z]{3,}\b|\.\.\.|x\.y:Z|your\.")


def blocks(text, kind):
    return [block for found, block in BLOCK.findall(text) if found == kind]


def with_values(block):
    """A block of commands with the values of the variables that it sets itself."""
    for name, value in ASSIGNED.findall(block):
        block = block.replace(f"${name}", value)
    return block


def commands():
    """Every nfvae line of every page, and every inline command that is whole."""
    for page, text in sorted(PAGES.items(), key=lambda item: item[0] != "README.md"):
        lines = [line.strip() for block in blocks(text, "") for line in with_values(block).splitlines()]
        lines += re.findall(r"`([^`]+)`", BLOCK.sub("", text))
        for line in lines:
            line = line.removeprefix("PYTHONPATH=. ").replace("flow $flow --data", "flow planar --data")
            line = line.replace("$flow", "iaf").replace("$data", "rings")
            for command in line.split(" && "):
                if command.startswith("nfvae ") and not PLACEHOLDER.search(command):
                    yield page, command


def test_git_clone_and_the_two_commands_come_first():
    first, second, third = blocks(README, "")[:3]
    assert first.startswith("git clone ")
    assert second == "pip install -e . && nfvae fit -c configs/quickstart.yaml\n"
    assert third == 'pip install -e ".[dev]" && pytest\n'
    assert len(README.splitlines()) <= 130


def test_the_continuous_integration_runs_them_as_printed():
    script = (ROOT / ".ci/run").read_text().replace("pip install --quiet", "pip install")
    for command in blocks(README, "")[1:3]:
        assert command in script


def python_examples():
    return [pytest.param(block, id=f"{page}-{i}") for page, text in PAGES.items()
            for i, block in enumerate(blocks(text, "python"))]  # fmt: skip


@pytest.mark.parametrize("example", python_examples())
def test_the_python_examples_run(example, cli, mnist_root, monkeypatch):
    monkeypatch.setenv("NFVAE_DATA", str(mnist_root))
    if "runs/digits" in example:
        assert cli("fit", "-c", ROOT / "configs/quickstart.yaml", *SHORT)[0] == 0
    short = "max_epochs=1, limit_train_batches=2, limit_val_batches=1, accelerator='cpu'"
    exec(example.replace("max_epochs=60", short).replace("samples=1000", "samples=20"), {"__name__": "example"})


def example_module(name, page, text):
    """Save the Python block of a page that holds a text as a module."""
    (block,) = (block for block in blocks(PAGES[page], "python") if text in block)
    Path(f"{name}.py").write_text(block)


def expanded(word):
    """A word of a command as the shell, in the repository's root, would give it to the program."""
    ours = word.startswith("configs/")
    if not ours and "*" not in word:
        return [word]
    found = sorted((ROOT if ours else Path()).glob(word))
    return [str(path) for path in found if len(found) <= MOST or path.stem in FEW or path.is_dir()]


def more(words):
    """What makes a command short."""
    if words[0] == "fit":
        small = ["--data.eval_batch_size", 20] if CONVOLUTIONS & {Path(str(word)).name for word in words} else []
        return [*SHORT, *small, *([] if "--overwrite" in words or "--ckpt_path" in words else ["--overwrite", "true"])]
    if words[:2] == ["plot", "k-curve"]:
        return LIMITED
    if any(word.startswith("trained/") for word in words) and words[0] in ("compare", "plot"):
        return USUAL
    if words[0] == "compare" and any(word.endswith(".yaml") for word in words):
        base = [] if "-c" in words else ["-c", ROOT / "configs/mnist.yaml"]
        root = [] if "--root" in words else ["--root", "short"]
        return [*(SHORT if "--fit" in words else []), *base, *LIMITED, *root, "--seeds", 0]
    return {
        "test": ["--trainer.limit_test_batches", 1, "--model.test_samples", 5],
        "evaluate": LIMITED,
        "gap": ["--limit", 3],
        "compare": LIMITED,
    }.get(words[0], [])


def test_the_commands_run(cli, mnist_root, workdir, monkeypatch):
    """One after the other, each training one short epoch."""
    monkeypatch.setenv("NFVAE_DATA", str(mnist_root))
    monkeypatch.syspath_prepend(str(workdir))
    for budget in BUDGETS:
        monkeypatch.setitem(BUDGETS, budget, (2, 8))
    for name, short in {"_STEPS": 5, "_MOST_ROUNDS": 1}.items():
        monkeypatch.setattr(gaps, name, short)
    example_module("letters", "docs/data.md", "class Letters")
    example_module("scaled", "docs/extending.md", "class ScaledNormal")
    example_module("bend", "docs/extending.md", "class Bend")
    own = letters()
    write_arrays(workdir, own)
    write_pictures(workdir, own)
    shutil.copytree(ROOT / "trained", "trained")
    np.save("mine.npy", np.random.default_rng(0).random((3, 8, 8)))
    done = set()
    for page, command in commands():
        words = [found for word in shlex.split(command)[1:] for found in expanded(word)]
        words, target = (words[:-2], Path(words[-1])) if ">" in words else (words, None)
        assert words[0] in {*COMMANDS, "--help", "--print_shtab"}, (page, command)
        if len(words) == 1 or tuple(words) in done or "--help" in words or "--help.trainer" in words:
            continue
        done.add(tuple(words))
        for word in words:
            if re.fullmatch(r"runs/[\w-]+", word) and not Path(word).exists():  # the table's other runs
                source = "short/plane-none" if "plane" in word else TRAINED
                shutil.copytree(source, word)
        if "ddp" in words or "--print_config" in words:  # which start or end processes
            asked = [sys.executable, "-m", "nfvae", *map(str, [*words, *more(words)])]
            ended = subprocess.run(asked, capture_output=True, text=True)
            code, said, error = ended.returncode, ended.stdout, ended.stderr
        else:
            code, said, error = cli(*words, *more(words))
        assert code == 0, (page, command, error)
        if target and target.suffix:
            target.write_text(said)
    assert len(done) > 20
    assert RunFolder(TRAINED).evaluation("evaluation-test-importance-20-first30").is_file()
    for name in ("letters", "scaled", "bend"):
        sys.modules.pop(name)


@pytest.mark.parametrize("name", FLOWS)
def test_every_flow_is_in_the_table(name):
    assert f"| `{name}` | `{FLOWS.load(name).__name__}`" in README


@pytest.mark.parametrize("page", PAGES)
def test_links_and_pictures_of_a_page_are_there(page):
    for target in re.findall(r"\]\(([^)#]+)\)", PAGES[page]):
        if not target.startswith("http"):
            assert (ROOT / page).parent.joinpath(target).exists(), target
