"""How a command reads its arguments."""

import argparse
from pathlib import Path
from typing import Any, NoReturn


def as_list(given: Any) -> list[Any]:
    """Return what a setting of Lightning's Trainer names, which may be nothing, one thing or a list."""
    return given if isinstance(given, list) else [] if given is None else [given]


class Parser(argparse.ArgumentParser):
    """A parser that raises instead of printing its usage and leaving, and takes no abbreviations."""

    def __init__(self, prog: str | None = None, description: str | None = None, add_help: bool = True) -> None:
        form = argparse.RawDescriptionHelpFormatter
        text = "\n".join(line.removeprefix("    ") for line in (description or "").splitlines())
        super().__init__(prog, description=text, add_help=add_help, allow_abbrev=False, formatter_class=form)

    def error(self, message: str) -> NoReturn:  # noqa: D102
        raise ValueError(message)

    def add_runs(self, name: str, nargs: str | None, others: str = "") -> None:
        """Add trained runs as positional arguments, with the classes that their checkpoints may name."""
        text = f"folder of a run, as runs/NAME, or a checkpoint{others}"
        self.add_argument(name, type=Path, nargs=nargs, metavar=name.upper().removesuffix("S"), help=text)
        self.add_trust()

    def add_trust(self) -> None:
        """Add the classes of your own that a checkpoint may name."""
        self.add_argument(
            "--trust",
            nargs="+",
            default=[],
            metavar="MODULE:CLASS",
            help="classes of your own that a checkpoint may name; those in the run's config.yaml are trusted anyway",
        )
