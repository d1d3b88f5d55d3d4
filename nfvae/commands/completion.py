"""`nfvae --print_shtab`: a script for shell completion of commands, settings and names."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import shtab

from nfvae.commands import COMMANDS
from nfvae.commands.arguments import Parser, offered, parser_of
from nfvae.registry import check_choice

_FLAGS = ("true", "false")


def print_completion(arguments: Sequence[str]) -> None:
    """Print the script for a shell.

    Raises:
        ValueError: for an unknown shell.
    """
    parser = Parser("nfvae --print_shtab", "Print the script by which a shell completes nfvae.")
    parser.add_argument("shell", metavar="SHELL", help=" | ".join(shtab.SUPPORTED_SHELLS))
    shell = parser.parse_args(list(arguments)).shell
    check_choice("shell", shell, shtab.SUPPORTED_SHELLS)
    print(shtab.complete(_whole(), shell))


def _whole() -> argparse.ArgumentParser:
    """Return one parser of all commands."""
    whole = argparse.ArgumentParser("nfvae")
    commands = whole.add_subparsers()
    for name, command in COMMANDS.items():
        part = commands.add_parser(
            name, help=command.summary, add_help=False, parents=[parser_of(name)], conflict_handler="resolve"
        )
        for action in part._actions:
            _complete(action)
    return whole


def _complete(action: Any) -> None:
    """Set the values that a shell completes for a setting: names, true and false, or files."""
    if names := offered(action):
        action.choices = names
    elif getattr(action, "_typehint", None) is bool:
        action.choices = _FLAGS
    elif action.type is Path or action.dest in ("config", "ckpt_path", "data.root"):
        action.complete = shtab.FILE
