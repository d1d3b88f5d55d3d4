"""How a command reads its arguments."""

import argparse
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """A parser that raises instead of printing its usage and leaving."""

    def error(self, message: str) -> NoReturn:  # noqa: D102
        raise ValueError(message)
