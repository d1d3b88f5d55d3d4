"""The floors: imports only go down, and the lower floors need torch alone."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import nfvae

ROOT = Path(nfvae.__file__).parent
FLOORS = [
    {"numerics"},
    {"bijections", "networks"},
    {"flows", "distributions"},
    {"posterior", "decoder", "prior"},
    {"vae"},
    {"objectives", "importance", "divergences"},
    {
        "data",
        "callbacks",
        "learner",
        "training",
        "runs",
        "distillation",
        "density",
        "tracking",
        "evaluation",
        "comparison",
    },
    {"plots", "report", "tasks", "commands", "cli", "__main__"},
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")
TORCH_FLOORS = 6  # pytorch-lightning, wandb and torchvision start on floor 6
HEAVY = ("pytorch_lightning", "lightning_fabric", "wandb", "torchvision", "matplotlib")


def place(path):
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imported(path):
    """Modules imported by a file, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from names if node.module == "nfvae" else [node.module]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_go_down(path):
    own = FLOOR[place(path)]
    for module in imported(path):
        if module.startswith("nfvae.") and (other := module.split(".")[1]) in FLOOR:
            assert FLOOR[other] <= own, f"{path.name} on floor {own} imports {module} on floor {FLOOR[other]}"
        if own < TORCH_FLOORS:
            assert not module.startswith(HEAVY), f"{path.name} on floor {own} imports {module}"


def test_flows_need_torch_alone():
    lines = "import sys, nfvae.flows, nfvae.vae, nfvae.objectives; print(*sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" in modules
    assert not set(HEAVY) & set(modules)


def test_public_names_exist():
    for name in nfvae.__all__:
        assert getattr(nfvae, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = nfvae.Nothing
