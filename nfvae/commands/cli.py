"""The command line: find the command, run it, and turn errors into exit codes."""

import argparse
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable

from nfvae.commands import COMMANDS, INTERRUPTED, Ended, is_unread, with_home
from nfvae.registry import import_attribute, trusting, unknown
from nfvae.version import __version__

_UNREAD = 141  # as of programs that SIGPIPE ends
_LONGEST_WORD, _LONGEST_MESSAGE = 200, 1_000  # characters
TRACEBACK_VARIABLE = "NFVAE_TRACEBACK"
_SAID_IN_VAIN = ("litlogger", "litmodels", "TPU", "GPU available: False", "Loading `", "`Trainer.fit` stopped")
_DESCRIPTION = "Train, measure and compare variational autoencoders whose posterior is a normalizing flow."
_OTHERS = """

nfvae COMMAND --help lists the arguments of a command, nfvae --version prints the version,
nfvae --print_shtab SHELL prints a completion script for bash, zsh, fish or tcsh."""


def run(arguments: list[str], ready: Callable[[], object] = lambda: None) -> int:
    """Run one command; a user's mistake gives one line and exit code 2, a diverged run exit code 1.

    Args:
        arguments: the command and its arguments.
        ready: function to call when the command is imported, before it begins.
    """
    _quieten()
    try:
        with trusting():
            _dispatch(arguments, ready)
    except (KeyboardInterrupt, Ended) as error:
        hint = getattr(error, "hint", "")
        print(f"nfvae: interrupted{hint and '; '}{hint}", file=sys.stderr)
        return error.code if isinstance(error, Ended) else INTERRUPTED
    except Exception as error:
        if isinstance(error, FloatingPointError):
            return _fail(error, 1)
        if isinstance(error, BrokenPipeError) and is_unread():
            return _UNREAD
        if not isinstance(error, _mistakes()) and "allocate memory" not in str(error):  # torch's RuntimeError on a CPU
            raise
        return _fail(error, 2)
    return 0


def _dispatch(arguments: list[str], ready: Callable[[], object]) -> None:
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print(_overview())
        raise SystemExit(0)
    if name == "--version":
        print(f"nfvae {__version__}")
        raise SystemExit(0)
    if name == "--print_shtab":
        from nfvae.commands.completion import print_completion

        return print_completion(arguments[1:])
    if name not in COMMANDS:
        raise ValueError(unknown("command", name, COMMANDS))
    command = import_attribute("command", f"{COMMANDS[name].module}:{name}_command")
    ready()
    try:
        command(with_home(arguments[1:]))
    finally:
        if tracking := sys.modules.get("nfvae.runs.tracking"):
            tracking.finish()


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = (f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items())
    usage = f"usage: nfvae COMMAND ...\n\n{_DESCRIPTION}\n\ncommands:\n"
    return usage + "\n".join(lines) + _OTHERS


def _mistakes() -> tuple[type[Exception], ...]:
    """Return the exceptions that a user's mistake raises; Lightning's own only if Lightning is imported."""
    lightning = sys.modules.get("pytorch_lightning.utilities.exceptions")
    torch = sys.modules.get("torch")
    own = (ValueError, OSError, MemoryError, ModuleNotFoundError, argparse.ArgumentError)
    of_torch = (torch.OutOfMemoryError,) if torch else ()
    return (*own, *of_torch, lightning.MisconfigurationException) if lightning else (*own, *of_torch)


def _fail(error: Exception, code: int) -> int:
    if os.environ.get(TRACEBACK_VARIABLE):
        raise error
    message = re.sub(rf"\S{{{_LONGEST_WORD},}}", lambda word: f"{word[0][:40]}...{word[0][-20:]}", str(error))
    print(f"nfvae: error: {' '.join(message.split())[:_LONGEST_MESSAGE]}", file=sys.stderr)
    return code


def _tells_something(record: logging.LogRecord) -> bool:
    return not any(each in record.getMessage() for each in _SAID_IN_VAIN)


def _quieten() -> None:
    """Silence messages of Lightning that a user of this command cannot act on."""
    for name in ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.rank_zero"):
        logging.getLogger(name).addFilter(_tells_something)
    for message in (
        "Checkpoint directory",
        "anonymous setting",
        "isinstance.treespec, LeafSpec",
        "callbacks used to create the checkpoint",
        r"Found \d+ module.s. in eval mode",
        "The number of training batches",
        "You called .self.log",
        "Couldn't infer the batch indices",
    ):
        warnings.filterwarnings("ignore", message=f".*{message}")
