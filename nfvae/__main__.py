"""`python -m nfvae` and the console script `nfvae`."""

import os
import signal
import sys
from typing import NoReturn

from nfvae.commands import INTERRUPTED


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 for a run that failed, 2 for a mistake in what was asked."""
    if arguments is None:
        return _as_program()
    from nfvae.cli import run

    return run(arguments)


def _as_program() -> int:
    """Run the command of this process, which Ctrl-C ends with exit code 130 at any moment.

    While modules are imported, which an interrupt could leave half made, it ends at once; while the process ends, it
    can be interrupted no more.
    """
    heeds = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not so in the background of a shell
    if heeds:
        signal.signal(signal.SIGINT, _leave)
    from nfvae.cli import run

    try:
        return run(sys.argv[1:], lambda: heeds and signal.signal(signal.SIGINT, signal.default_int_handler))
    finally:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _leave(*_: object) -> NoReturn:
    print("nfvae: interrupted", file=sys.stderr, flush=True)
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
