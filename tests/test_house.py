"""The floors: imports go strictly down between packages, in no circle inside them; nothing is long."""

import ast
import graphlib
import importlib
import inspect
import io
import pkgutil
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

import nfvae
from nfvae.commands import COMMANDS
from nfvae.registry import Registry, import_attribute

ROOT = Path(nfvae.__file__).parent
FLOORS = [
    {"version", "registry", "numerics"},
    {"networks"},
    {"flows", "targets"},
    {"models"},
    {"estimators"},
    {"data", "plots"},
    {"runs"},
    {"training"},
    {"commands"},
    {"__main__"},
    {"__init__"},  # offers what the others have, so that none of them imports from it
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
FILES = sorted(ROOT.rglob("*.py"))
TORCH_FLOORS = 5  # pytorch-lightning, wandb and torchvision start on the floor of the data
NOT_TORCH = ("pytorch_lightning", "lightning_fabric", "wandb", "torchvision", "matplotlib", "jsonargparse")
LONGEST_FUNCTION, LONGEST_CLASS = 30, 90  # lines of code, without docstrings, comments and empty lines


def place(path):
    return path.relative_to(ROOT).with_suffix("").parts[0]


def module_name(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path) for path in FILES}


def imported(path):
    """Modules imported by a file, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


def test_few_things_lie_at_the_entrance():
    entries = [path.name for path in ROOT.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 16
    assert {name.removesuffix(".py") for name in entries} == {*FLOOR, "py.typed"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_strictly_down(path):
    own = FLOOR[place(path)]
    for module in imported(path):
        package, _, inside = module.partition(".")
        other = inside.partition(".")[0] or "__init__"
        if package == "nfvae" and other != place(path):
            assert FLOOR[other] < own, f"{path.name} on floor {own} imports {module} on floor {FLOOR[other]}"
        if own < TORCH_FLOORS:
            assert not module.startswith(NOT_TORCH), f"{path.name} on floor {own} imports {module}"


def test_no_imports_go_in_a_circle():
    graph = {module_name(path): {module for module in imported(path) if module in MODULES} for path in FILES}
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_lists_what_it_offers(package):
    module = importlib.import_module(f"nfvae.{package}")
    assert module.__all__
    assert all(getattr(module, name) is not None for name in module.__all__)


def lines_of_code(text):
    """The numbers of the lines that hold code: no comments, no docstrings, no empty lines."""
    layout = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    held = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in layout:
            held |= {*range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            held -= {*range(node.lineno, node.end_lineno + 1)}
    return held


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_and_classes_are_short(path):
    held = lines_of_code(path.read_text())
    for node in ast.walk(ast.parse(path.read_text())):
        limit = {ast.FunctionDef: LONGEST_FUNCTION, ast.ClassDef: LONGEST_CLASS}.get(type(node))
        if limit:
            count = len(held & {*range(node.lineno, node.end_lineno + 1)})
            assert count <= limit, f"{node.name} in {path.name} has {count} lines of code"


def registries():
    for info in pkgutil.walk_packages([str(ROOT)], "nfvae."):
        if info.name != "nfvae.__main__":
            for name, value in vars(importlib.import_module(info.name)).items():
                if isinstance(value, Registry):
                    yield pytest.param(value, id=f"{info.name}.{name}")


@pytest.mark.parametrize("registry", list({id(p.values[0]): p for p in registries()}.values()))
def test_every_registered_name_resolves(registry):
    assert registry
    for name in registry:
        found = registry.load(name)
        assert not inspect.isabstract(found)
        assert inspect.getdoc(found)


def test_every_command_resolves():
    for name, command in COMMANDS.items():
        assert inspect.getdoc(import_attribute("command", f"{command.module}:{name}_command"))


def modules_after(line):
    return set(subprocess.check_output([sys.executable, "-c", f"{line}\nimport sys; print(*sys.modules)"]).split())


def test_the_lower_floors_need_torch_alone():
    modules = modules_after("import nfvae.flows, nfvae.models, nfvae.estimators")
    assert b"torch" in modules
    assert not {name.encode() for name in NOT_TORCH} & modules


def test_the_command_line_imports_what_a_command_needs():
    assert b"torch" not in modules_after("import nfvae, nfvae.commands.cli")
    assert b"torch" not in modules_after(
        "from nfvae.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    )


def test_public_names_exist():
    assert {*nfvae.__all__} <= set(dir(nfvae))
    for name in nfvae.__all__:
        assert getattr(nfvae, name) is not None
    assert nfvae.__version__
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = nfvae.Nothing
