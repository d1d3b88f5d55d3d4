"""The command line: finds the command, and turns its mistakes into exit codes."""

import argparse
import logging
import os
import sys
import warnings

from nfvae.commands import COMMANDS
from nfvae.registry import import_attribute, unknown

TRACEBACK_VARIABLE = "NFVAE_TRACEBACK"
_DESCRIPTION = "Train, measure and compare variational autoencoders whose posterior is a normalizing flow."


def run(arguments: list[str]) -> int:
    """Run one command; a mistake in what was asked gives one line and exit code 2, a diverged run exit code 1."""
    _quieten()
    try:
        _dispatch(arguments)
    except Exception as error:
        if isinstance(error, FloatingPointError):
            return _fail(error, 1)
        if not isinstance(error, _mistakes()):
            raise
        return _fail(error, 2)
    finally:
        if tracking := sys.modules.get("nfvae.runs.tracking"):
            tracking.finish()
    return 0


def _dispatch(arguments: list[str]) -> None:
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print(_overview())
        raise SystemExit(0)
    if name == "--version":
        from nfvae import __version__

        print(f"nfvae {__version__}")
        raise SystemExit(0)
    if name not in COMMANDS:
        raise ValueError(unknown("command", name, COMMANDS))
    import_attribute("command", COMMANDS[name].path)(arguments[1:])


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = (f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items())
    usage = f"usage: nfvae COMMAND ...\n\n{_DESCRIPTION}\n\ncommands:\n"
    return usage + "\n".join(lines) + "\n\nnfvae COMMAND --help says what a command takes; nfvae --version the version."


def _mistakes() -> tuple[type[Exception], ...]:
    """Return what a mistake in what was asked raises; Lightning's own kind only where Lightning was needed."""
    lightning = sys.modules.get("lightning_fabric.utilities.exceptions")
    own = (ValueError, OSError, argparse.ArgumentError)
    return (*own, lightning.MisconfigurationException) if lightning else own


def _fail(error: Exception, code: int) -> int:
    if os.environ.get(TRACEBACK_VARIABLE):
        raise error
    print(f"nfvae: error: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def _quieten() -> None:
    """Silence what Lightning says that no user of this command can act on."""
    tips = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    tips.addFilter(lambda record: "litlogger" not in record.getMessage() and "litmodels" not in record.getMessage())
    for message in (
        "Experiment logs directory",
        "isinstance.treespec, LeafSpec",
        "callbacks used to create the checkpoint",
        r"Found \d+ module.s. in eval mode",
        "The number of training batches",
        "You called .self.log",
    ):
        warnings.filterwarnings("ignore", message=f".*{message}")
