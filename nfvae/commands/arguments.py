"""How a command reads its arguments."""

import argparse
import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from typing_extensions import override

from nfvae.data import SPLITS
from nfvae.estimators import BUDGETS, PROPOSALS
from nfvae.registry import check_choice, trust
from nfvae.runs.folder import EvaluationSettings
from nfvae.runs.methods import make_method

_SIZES = ("chains", "temperatures")
TRUST_HELP = "your own classes that the checkpoint may name (default: those the run was trained with in this folder)"
FEW_IMAGES = 100  # for what takes long
PICTURES = (".png", ".pdf", ".svg")


def as_list(given: Any) -> list[Any]:
    """Return what a setting of Lightning's Trainer names, which may be nothing, one thing or a list."""
    return given if isinstance(given, list) else [] if given is None else [given]


def offer(action: argparse.Action, names: Iterable[str]) -> None:
    """Keep with an argument the names that a shell completes; it may take others too."""
    vars(action)["offered"] = (*names,)


def offered(action: argparse.Action) -> tuple[str, ...]:
    """Return the names that a shell completes."""
    names: tuple[str, ...] = vars(action).get("offered", ())
    return names


@contextmanager
def refused(what: str) -> Iterator[None]:
    """Turn whatever a library raises about a user's settings into a ValueError.

    Raises:
        ValueError: for any exception.
    """
    try:
        yield
    except (ValueError, OSError):
        raise
    except Exception as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"{what}: {said}") from error


def meant(message: str, parser: argparse.ArgumentParser) -> str:
    """Return which option may have been meant, where a message says that one is unknown; else nothing."""
    found = re.match(r"unrecognized arguments: (--[\w.]+)", message)
    close = difflib.get_close_matches(found[1], parser._option_string_actions, 1) if found else []
    return f"; did you mean {close[0]}?" if close else ""


class Parser(argparse.ArgumentParser):
    """A parser that raises instead of printing its usage and leaving, and takes no abbreviations."""

    def __init__(self, prog: str | None = None, description: str | None = None, add_help: bool = True) -> None:
        form = argparse.RawDescriptionHelpFormatter
        text = "\n".join(line.removeprefix("    ") for line in (description or "").splitlines())
        super().__init__(prog, description=text, add_help=add_help, allow_abbrev=False, formatter_class=form)
        self.register("type", Path, _path)

    @override
    def error(self, message: str) -> NoReturn:
        raise ValueError(message + meant(message, self))

    def add_runs(self, name: str, nargs: str | None, others: str = "") -> None:
        """Add trained runs as positional arguments, with the classes that their checkpoints may name."""
        text = f"folder of a run, as runs/NAME, or a checkpoint{others}"
        self.add_argument(name, type=Path, nargs=nargs, metavar=name.upper().removesuffix("S"), help=text)
        self.add_trust()

    def add_evaluation(
        self, estimators: Sequence[str], images: str = "how many, the first ones (default: all; 100 of sandwich)"
    ) -> None:
        """Add what an evaluation is asked; `evaluation_settings` reads it."""
        names = " | ".join(estimators)
        if len(estimators) > 1:
            text = f"{names}, or several of them (default: {estimators[0]})"
            offer(self.add_argument("--estimator", nargs="+", metavar="NAME", help=text), estimators)
            self.add_importance()
        self.set_defaults(estimators=estimators)
        self.add_budget()
        offer(self.add_argument("--split", help="train, val or test (default: test)"), SPLITS)
        self.add_argument("--limit", "--images", type=int, help=images)
        self.add_argument("--seed", type=int, default=0, help="of the noise (default: 0)")
        for name in ("dataset", "binarization"):
            self.add_argument(f"--data.{name}", help=f"another {name} than in training")

    def add_importance(self) -> None:
        """Add what importance sampling is asked."""
        default = EvaluationSettings._field_defaults
        self.add_argument("--samples", type=int, default=default["samples"], help="importance samples (default: 5000)")
        text = f"of the importance samples: {' | '.join(PROPOSALS)} (default: {default['proposal']})"
        offer(self.add_argument("--proposal", default=default["proposal"], help=text), PROPOSALS)

    def add_budget(self) -> None:
        """Add what annealed importance sampling is asked."""
        text = f"of annealing: {' | '.join(BUDGETS)} (default: default)"
        offer(self.add_argument("--budget", default="default", help=text), BUDGETS)
        for place, name in enumerate(_SIZES):
            sizes = ", ".join(f"{size[place]:,} for {budget}" for budget, size in BUDGETS.items())
            self.add_argument(f"--{name}", type=int, help=f"of annealing (default: by --budget, {sizes})")

    def add_trust(self) -> None:
        """Add the classes of your own that a checkpoint may name."""
        self.add_argument("--trust", nargs="+", action=_Trust, metavar="MODULE:CLASS", help=TRUST_HELP)


class _Trust(argparse.Action):
    """Trust the classes for the rest of the command, wherever a checkpoint is read."""

    @override
    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: Any) -> None:
        trust(values)


def _path(given: str) -> Path:
    """Read a path."""
    if not given:  # which would be the working directory
        raise argparse.ArgumentTypeError("expected a path; got ''")
    return Path(given)


def check_file(argument: str, path: Path, endings: Sequence[str] = PICTURES) -> None:
    """Check where a file is to go, a picture unless told.

    Raises:
        ValueError: for a folder, or the name of another kind of file.
    """
    if path.is_dir() or path.suffix.lower() not in endings:
        raise ValueError(f"{argument} should name a file that ends in {', '.join(endings)}; got {str(path)!r}")


def evaluation_settings(options: argparse.Namespace) -> list[EvaluationSettings]:
    """Return what was asked with the arguments of `Parser.add_evaluation`, once for each estimator.

    Raises:
        ValueError: for an unknown estimator, budget or split.
    """
    given = {name.removeprefix("data."): value for name, value in vars(options).items() if value is not None}
    asked = {name: given[name] for name in EvaluationSettings._fields if name in given}
    names = dict.fromkeys(asked.pop("estimator", options.estimators[:1]))
    settings = [_of_estimator(name, options.estimators, asked | budget(options)) for name in names]
    for each in settings:
        make_method(each)  # refuses now what would fail after the work of another
    return settings


def budget(options: argparse.Namespace) -> dict[str, int]:
    """Return the chains and temperatures that were asked for with the arguments of `Parser.add_budget`.

    Raises:
        ValueError: for an unknown budget.
    """
    check_choice("budget", options.budget, BUDGETS)
    usual = dict(zip(_SIZES, BUDGETS[options.budget], strict=True))
    return usual | {name: getattr(options, name) for name in _SIZES if getattr(options, name) is not None}


def _of_estimator(name: str, known: Sequence[str], asked: dict[str, Any]) -> EvaluationSettings:
    check_choice("estimator", name, known)
    if name in ("sandwich", "gap"):
        asked = {"limit": FEW_IMAGES} | asked
    if name == "sandwich":
        for each in {"split", "dataset", "binarization"}.intersection(asked):
            option = each if each == "split" else f"data.{each}"
            raise ValueError(f"the sandwich simulates its images from the model: it takes no --{option}")
        return EvaluationSettings(**asked, estimator=name, split="simulated")
    check_choice("split", asked.get("split", "test"), SPLITS)
    return EvaluationSettings(**asked, estimator=name)
