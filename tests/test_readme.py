"""The README and the docs say what is true: their commands and examples run as printed."""

import contextlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nfvae
from nfvae.__main__ import main
from nfvae.commands import COMMANDS
from nfvae.estimators import BUDGETS, gaps
from nfvae.flows import FLOWS
from nfvae.runs import RunFolder
from tests.data.test_uci import write_miniboone
from tests.helpers.own_images import (
    color_data,
    letters,
    write_arrays,
    write_counts,
    write_holes,
    write_pictures,
    write_table,
)
from tests.helpers.sweeps import sweep

ROOT = Path(__file__).resolve().parent.parent
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]}
README = PAGES["README.md"]
BLOCK = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
TRAINED = "runs/mnist-gated-iaf-4-seed0"
MOST_WORDS, LONGEST_LINE = 700, 120
LIMITED = ["--samples", 20, "--limit", 30]
USUAL = ["--chains", 4, "--temperatures", 200]  # though budgets are short here
SHORT = ["--trainer.max_epochs", 1, "--trainer.limit_train_batches", 2, "--trainer.limit_val_batches", 1]
FEW, MOST = ("iaf", "none", "planar"), 4  # configs of a folder with more than so many
CONVOLUTIONS = {"conv.yaml", "resnet.yaml"}
EXAMPLES = {
    "letters": ("docs/data.md", "class Letters"),
    "scaled": ("docs/extending.md", "class ScaledNormal"),
    "bend": ("docs/extending.md", "class Bend"),
    "stretch": ("docs/extending.md", "class StretchFlow"),
    "counts": ("docs/extending.md", "class Counts"),
    "sharp": ("docs/extending.md", "class SharpDecoder"),
}
AFTER = {"docs/recipes.md": "docs/extending.md"}  # whose run it tests
QUICK = ["docs/using.md"]  # by `pytest` without --exhaustive, after the README's
ASSIGNED = re.compile(r'^(\w+)="(.*)"$', re.MULTILINE)
PLACEHOLDER = re.compile(r"(?<!:)\b[A-Z]{3,}\b|\.\.\.|x\.y:Z|your\.")


def blocks(text, kind):
    return [block.replace("\\\n", "") for found, block in BLOCK.findall(text) if found == kind]


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
            line = line.replace("$flow", "iaf").replace("$data", "rings").replace("$lr", "1e-3")
            line = line.replace("$target", "u1").replace("$depth", "2")
            for command in line.split(" && "):
                if command.startswith("nfvae ") and not PLACEHOLDER.search(command):
                    yield page, command


def test_git_clone_and_the_two_commands_come_first():
    first, second, third = blocks(README, "")[:3]
    assert first.startswith("git clone ")
    assert second == "pip install -e . && nfvae fit -c configs/quickstart.yaml\n"
    assert third == 'pip install -e ".[dev]" && pytest\n'


def test_the_readme_is_short():
    prose = re.sub(r"\]\([^)]*\)", "]", BLOCK.sub("", README))
    assert len([word for word in prose.split() if re.search(r"\w", word)]) <= MOST_WORDS
    assert max(map(len, README.splitlines())) <= LONGEST_LINE


@pytest.mark.parametrize("page", PAGES)
def test_lines_of_prose_can_be_reviewed_and_commands_fit_their_block(page):
    for line in BLOCK.sub("", PAGES[page]).splitlines():
        assert len(line) <= LONGEST_LINE or line.startswith(("|", "[![")), line
    for kind in ("", "bash"):
        for found, block in BLOCK.findall(PAGES[page]):
            assert found != kind or max(map(len, block.splitlines())) <= LONGEST_LINE, block


def test_every_public_name_is_in_the_api():
    for name in {*nfvae.__all__} - {"FLOWS", "__version__"}:
        assert f"::: nfvae.{name}\n" in PAGES["docs/api.md"], name


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


@contextlib.contextmanager
def short_commands(folder, mnist_root):
    """A folder with all that the commands read, in which they take seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("NFVAE_DATA", str(mnist_root))
        patch.syspath_prepend(str(folder))
        for budget in BUDGETS:
            patch.setitem(BUDGETS, budget, (2, 8))
        color_data(patch)
        for name, short in {"_STEPS": 5, "_MOST_ROUNDS": 1}.items():
            patch.setattr(gaps, name, short)
        yield
        for name in EXAMPLES:
            sys.modules.pop(name, None)


def write_what_commands_read(folder):
    for name, (page, text) in EXAMPLES.items():
        example_module(name, page, text)
    own = letters()
    write_arrays(folder, own)
    write_pictures(folder, own)
    shutil.copytree(ROOT / "trained", "trained")
    write_table(folder)
    write_holes(folder)
    write_counts(folder)
    Path("tables").mkdir()
    write_miniboone(Path("tables"))
    np.save("mine.npy", np.random.default_rng(0).random((3, 8, 8)))


def run_commands(pages):
    """Run the commands of some pages one after the other, each training one short epoch."""
    done = set()
    for page, command in commands():
        words = [found for word in shlex.split(command)[1:] for found in expanded(word)]
        words, target = (words[:-2], Path(words[-1])) if ">" in words else (words, None)
        assert words[0] in {*COMMANDS, "--help", "--print_shtab"}, (page, command)
        ignored = len(words) == 1 or tuple(words) in done or "--help" in words or "--help.trainer" in words
        if page not in pages or ignored:
            continue
        done.add(tuple(words))
        for word in words:
            if re.fullmatch(r"runs/[\w-]+", word) and not Path(word).exists():  # the table's other runs
                source = "short/plane-none" if "plane" in word else TRAINED
                shutil.copytree(source, word)
        asked = [str(word) for word in [*words, *more(words)]]
        if "ddp" in words or "--print_config" in words:  # which start or end processes
            ended = subprocess.run([sys.executable, "-m", "nfvae", *asked], capture_output=True, text=True)
            assert ended.returncode == 0, (page, command, ended.stderr)
            if target and target.suffix:
                target.write_text(ended.stdout)
        else:
            assert main(asked) == 0, (page, command)
    return done


@pytest.fixture(scope="module")
def after_readme(tmp_path_factory, mnist_root):
    """The folder in which the README's commands have run."""
    folder = tmp_path_factory.mktemp("readme")
    with short_commands(folder, mnist_root):
        write_what_commands_read(folder)
        assert len(run_commands(["README.md"])) > 5
        train = ["fit", "-c", ROOT / "configs/mnist.yaml", "-c", ROOT / "configs/posteriors/iaf.yaml", *SHORT]
        assert main([str(word) for word in train]) == 0  # the run of most pages
    return folder


def test_the_commands_of_the_readme_run(after_readme):
    run = RunFolder(after_readme / "runs/mnist-gated-none-1-flowprior-seed0")
    assert run.evaluation("evaluation-test-annealed-2x8-first30").is_file()


def groups():
    """The pages with commands but the README, each alone or with the one that its commands come after."""
    pages = dict.fromkeys(page for page, _ in commands() if page not in ("README.md", *AFTER.values()))
    return [f"{AFTER.get(page, '')} {page}".strip() for page in pages]


@pytest.mark.parametrize("pages", sweep(groups(), lambda pages: pages in QUICK))
def test_the_commands_of_a_page_run(pages, after_readme, workdir, mnist_root):
    shutil.copytree(after_readme, workdir, dirs_exist_ok=True)
    with short_commands(workdir, mnist_root):
        run_commands(pages.split())


@pytest.mark.parametrize("name", FLOWS)
def test_every_flow_is_in_the_table(name):
    assert f"| `{name}` | `{FLOWS.load(name).__name__}`" in PAGES["docs/flows.md"]


@pytest.mark.parametrize("page", PAGES)
def test_links_and_pictures_of_a_page_are_there(page):
    for target in re.findall(r"\]\(([^)#]+)\)", PAGES[page]):
        if not target.startswith("http"):
            assert (ROOT / page).parent.joinpath(target).exists(), target
