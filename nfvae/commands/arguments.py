"""Parsing of the arguments of commands."""

import argparse
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from typing_extensions import override

from nfvae.commands import COMMANDS
from nfvae.data import SPLITS
from nfvae.registry import check_choice, import_attribute, trust
from nfvae.runs import EvaluationSettings
from nfvae.runs.estimators import Estimator
from nfvae.runs.tables import FORMATS

TRUST_HELP = "your own classes that a checkpoint may import (default: those of runs that you trained in this folder)"
PICTURES = (".png", ".pdf", ".svg")


def as_list(given: Any) -> list[Any]:
    """Return a setting of Lightning's Trainer as a list; it may be None, one object or a list."""
    return given if isinstance(given, list) else [] if given is None else [given]


def offer(action: argparse.Action, names: Iterable[str]) -> None:
    """Attach to an argument the names that a shell completes; other values remain allowed."""
    vars(action)["offered"] = (*names,)


def offered(action: argparse.Action) -> tuple[str, ...]:
    """Return the names that a shell completes."""
    names: tuple[str, ...] = vars(action).get("offered", ())
    return names


def parser_of(command: str) -> argparse.ArgumentParser:
    """Return the parser of a command."""
    parser: argparse.ArgumentParser = import_attribute("parser", f"{COMMANDS[command].module}:{command}_parser")()
    return parser


@contextmanager
def refused(what: str) -> Iterator[None]:
    """Turn an exception that a library raises for a user's settings into a ValueError.

    Raises:
        ValueError: for any exception but OSError.
    """
    try:
        yield
    except (ValueError, OSError):
        raise
    except Exception as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"{what}: {said}") from error


def meant(message: str, parser: argparse.ArgumentParser) -> str:
    """Return a suggestion if a message reports an unknown option; else an empty string."""
    found = re.match(r"unrecognized arguments: (--[\w.]+)", message)
    close = difflib.get_close_matches(found[1], parser._option_string_actions, 1) if found else []
    return f"; did you mean {close[0]}?" if close else ""


class Parser(argparse.ArgumentParser):
    """A parser that raises instead of printing its usage and exiting, and that accepts no abbreviations."""

    def __init__(self, prog: str | None = None, description: str | None = None, add_help: bool = True) -> None:
        form = argparse.RawDescriptionHelpFormatter
        text = "\n".join(line.removeprefix("    ") for line in (description or "").splitlines())
        super().__init__(prog, description=text, add_help=add_help, allow_abbrev=False, formatter_class=form)
        self.register("type", Path, _path)

    @override
    def error(self, message: str) -> NoReturn:
        raise ValueError(message + meant(message, self))

    def add_runs(self, name: str, nargs: str | None, others: str = "") -> None:
        """Add trained runs as positional arguments, and --trust."""
        text = f"folder of a run such as runs/NAME, or a checkpoint{others}"
        self.add_argument(name, type=Path, nargs=nargs, metavar=name.upper().removesuffix("S"), help=text)
        self.add_trust()

    def add_evaluation(
        self, estimators: Mapping[str, type[Estimator]], images: str = "use only the first N images (default: all)"
    ) -> None:
        """Add the settings of an evaluation by some of the estimators; `evaluation_settings` reads them."""
        if len(estimators) > 1:
            text = f"estimators of log p(x): {', '.join(estimators)} (default: {next(iter(estimators))})"
            offer(self.add_argument("--estimator", nargs="+", metavar="NAME", help=text), estimators)
        self.add_estimators(estimators)
        offer(self.add_argument("--split", help="part of the data: train, val or test (default: test)"), SPLITS)
        self.add_argument("--limit", "--images", type=int, help=images)
        self.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
        for name in ("dataset", "binarization"):
            self.add_argument(f"--data.{name}", help=f"{name} to evaluate on, if not that of the training")

    def add_estimators(self, estimators: Mapping[str, type[Estimator]], **defaults: Any) -> None:
        """Add the arguments of estimators; `defaults` replaces some of their defaults."""
        self.set_defaults(estimators=estimators)
        added = {name: each for kind in estimators.values() for name, each in kind.arguments.items()}
        for name, argument in added.items():
            default = defaults.get(name, argument.default)
            text = argument.help if default is None else f"{argument.help} (default: {default})"
            offer(self.add_argument(f"--{name}", type=argument.type, default=default, help=text), argument.choices)

    def add_layout(self) -> None:
        """Add the arguments for the columns, format and caption of a table."""
        text = "numbers to show, named as in --format json; all shows every one (default: the most important)"
        self.add_argument("--columns", nargs="+", default=[], metavar="NAME", help=text)
        self.add_argument("--format", choices=FORMATS, default="table", help="output format (default: table)")
        self.add_argument("--caption", default="", help="caption of a LaTeX table, in which the best numbers are bold")

    def add_condition(self) -> None:
        """Add --label and --condition, of a model of labeled or conditioned data."""
        self.add_argument("--label", help="label that the data have, for a model with labels")
        text = "values of the condition, for a model with data.condition"
        self.add_argument("--condition", type=float, nargs="+", metavar="VALUE", help=text)

    def add_trust(self) -> None:
        """Add --trust, your own classes that a checkpoint may name."""
        self.add_argument("--trust", nargs="+", action=_Trust, metavar="MODULE:CLASS", help=TRUST_HELP)


class _Trust(argparse.Action):
    """Trust the classes for the rest of the command, wherever a checkpoint is read."""

    @override
    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: Any) -> None:
        trust(values)


def _path(given: str) -> Path:
    """Read a path."""
    if not given:  # an empty path would be the working directory
        raise argparse.ArgumentTypeError("expected a path; got ''")
    return Path(given)


def check_file(argument: str, path: Path, endings: Sequence[str] = PICTURES) -> None:
    """Check the path of a file to write, by default a picture.

    Raises:
        ValueError: for a folder, or a name with another ending.
    """
    if path.is_dir() or path.suffix.lower() not in endings:
        raise ValueError(f"{argument} should name a file that ends in {', '.join(endings)}; got {str(path)!r}")


def check_new(argument: str, path: Path | None) -> None:
    """Refuse to write data over a file, which may be the user's own.

    Raises:
        ValueError: for a file that exists.
    """
    if path is not None and path.is_file():
        raise ValueError(f"{argument} {path} exists: remove it, or choose another name")


def check_caption(options: argparse.Namespace) -> None:
    """Check the arguments of `Parser.add_layout`.

    Raises:
        ValueError: for a caption of a table that has none.
    """
    if options.caption and options.format != "latex":
        raise ValueError("--caption is for --format latex")


def described(choices: Mapping[str, Any]) -> str:
    """Return the names of choices, each with its `help`, as lines of a command's description."""
    width = max(map(len, choices)) + 2
    return "\n    ".join(f"{name:{width}}{choice.help}" for name, choice in choices.items())


def chosen_estimators(options: argparse.Namespace) -> list[Estimator]:
    """Return the estimators requested by the arguments of `Parser.add_estimators`, by default the first one.

    Raises:
        ValueError: for an unknown estimator, or settings out of range, even of an estimator that is not chosen.
    """
    known = {name: kind.of(vars(options)) for name, kind in options.estimators.items()}
    chosen = getattr(options, "estimator", None) or [next(iter(known))]
    for name in chosen:
        check_choice("estimator", name, known)
    return [known[name] for name in dict.fromkeys(chosen)]


def evaluation_settings(options: argparse.Namespace) -> list[EvaluationSettings]:
    """Return the evaluations requested by the arguments of `Parser.add_evaluation`, one per estimator.

    Raises:
        ValueError: for an unknown estimator or split, or settings out of range.
    """
    given = {name.removeprefix("data."): value for name, value in vars(options).items() if value is not None}
    common = {name: given[name] for name in EvaluationSettings._fields if name in given and name != "estimator"}
    evaluations = [EvaluationSettings(estimator, **common) for estimator in chosen_estimators(options)]
    for evaluation in evaluations:
        evaluation.check()  # raises now instead of after another evaluation
    return evaluations
