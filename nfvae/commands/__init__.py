"""What is done with trained runs, by the name of the command."""

from collections.abc import Callable

from nfvae.commands.compare import compare_command
from nfvae.commands.evaluate import evaluate_command
from nfvae.commands.parser import Parser
from nfvae.commands.plot import plot_command, sample_command

__all__ = ["COMMANDS", "Parser"]

COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "compare": compare_command,
    "evaluate": evaluate_command,
    "plot": plot_command,
    "sample": sample_command,
}
