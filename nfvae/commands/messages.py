"""Messages of the parser in plain words."""

import re
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import ArgumentParser

from nfvae.commands.arguments import meant

TRAINER_HELP = "--help.trainer"
_LONGEST_HINT = 60  # characters of a type in a message


def in_plain_words(message: str, parser: ArgumentParser) -> str:
    """Rewrite a message of jsonargparse: the setting, what it accepts, and what was given."""
    message += meant(message, parser)
    found = re.search(r'key "([\w.]+)":.*?(?:Given value|Got value): (.*)', message, re.DOTALL)
    if not found:
        return message
    name, value = found.groups()
    hints = [getattr(action, "_typehint", None) for action in parser._actions if action.dest == name]
    expected = _type_in_words(hints[0]) if hints else ""
    if not 0 < len(expected) <= _LONGEST_HINT:
        expected = f"what {TRAINER_HELP if name.startswith('trainer') else '--help'} says"
    return f"{name} takes {expected}; got {next(iter(value.splitlines()), '')!r}"


def _type_in_words(hint: Any) -> str:
    """Return a type as plain names, such as `int or null`."""
    if isinstance(hint, type) and not get_args(hint):
        return "null" if hint is type(None) else hint.__name__
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(map(_type_in_words, get_args(hint)))
    return re.sub(r"[\w.]+\.(\w+)", r"\1", str(hint))
