"""The commands by name. To add one, write a file beside this one and add a line to `COMMANDS`."""

import os
import select
import signal
from types import FrameType
from typing import Any, NamedTuple, NoReturn

__all__ = ["COMMANDS", "INTERRUPTED", "TERMINATED", "Command", "Ended", "end", "is_unread", "with_home"]

_OUTPUT = 1  # file descriptor of standard output
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
"""Exit codes after Ctrl-C and after SIGTERM, as in a shell."""


class Ended(SystemExit):
    """Ctrl-C or SIGTERM has ended the command.

    Args:
        code: the exit code.
        hint: how to resume.
    """

    def __init__(self, code: int, hint: str = "") -> None:
        super().__init__(code)
        self.code: int = code
        self.hint = hint


def end(signum: int, frame: FrameType | None) -> NoReturn:
    """End the command, as a signal handler; files are closed and removed as after an error.

    Raises:
        Ended: always.
    """
    raise Ended(128 + signum)


def is_unread() -> bool:
    """Return whether the reader of the output has left, as after `| head`; what is left to print is then dropped."""
    if not hasattr(select, "poll"):  # on Windows
        return False
    output = select.poll()
    output.register(_OUTPUT, 0)
    has_left = any(event & select.POLLERR for _, event in output.poll(0))
    if has_left:
        os.dup2(os.open(os.devnull, os.O_WRONLY), _OUTPUT)
    return has_left


def with_home(value: Any) -> Any:
    """Replace `~` at the start of values by the home directory, in settings or words of a command line.

    Example:
        >>> with_home(["runs/a", "--output=~/a.png"])[1].startswith("--output=/")
        True
    """
    if isinstance(value, dict):
        return {name: with_home(each) for name, each in value.items()}
    if isinstance(value, list):
        return [with_home(each) for each in value]
    if not isinstance(value, str):
        return value
    option, equals, path = value.partition("=~") if value.startswith("--") else ("", "", value)
    return f"{option}={os.path.expanduser(f'~{path}')}" if equals else os.path.expanduser(value)


class Command(NamedTuple):
    """A command NAME: the module with its `NAME_command` and `NAME_parser`, and a one-line summary."""

    module: str
    summary: str


COMMANDS = {
    "fit": Command("nfvae.commands.fit", "train a model, or resume an interrupted training"),
    "validate": Command("nfvae.commands.test", "compute the metrics of a trained model on the validation set"),
    "test": Command("nfvae.commands.test", "compute the metrics of a trained model on the test set"),
    "predict": Command("nfvae.commands.test", "write a posterior sample of each test image"),
    "evaluate": Command("nfvae.commands.evaluate", "estimate the log-likelihood of trained models, with its error"),
    "gap": Command("nfvae.commands.gap", "split the gap between ELBO and log-likelihood: encoder or flow?"),
    "compare": Command("nfvae.commands.compare", "compare runs or configs in one table"),
    "export": Command("nfvae.commands.export", "copy trained runs into small folders to share"),
    "plot": Command("nfvae.commands.plot", "draw a picture of trained models"),
    "encode": Command("nfvae.commands.encode", "encode your data into posterior samples"),
    "score": Command("nfvae.commands.encode", "compute log p(x) of your data"),
    "impute": Command("nfvae.commands.impute", "fill in missing values of your data"),
    "classify": Command("nfvae.commands.classify", "classify data by a model trained with labels"),
    "sample": Command("nfvae.commands.sample", "draw images or vectors from a trained model"),
}
