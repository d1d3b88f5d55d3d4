"""`python -m nfvae` and the console script `nfvae`."""

import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from nfvae.commands import end, is_unread


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 for a run that failed, 2 for a user's mistake."""
    if arguments is None:
        return _as_program()
    from nfvae.commands.cli import run

    return run(arguments)


def _as_program() -> int:
    """Run the command of this process, which Ctrl-C and SIGTERM end at any moment, with exit code 130 and 143.

    While modules are imported, which an interrupt could leave half made, it ends at once; while the process ends, it
    can be interrupted no more.
    """
    heeded = {  # not Ctrl-C in the background of a shell
        signum: handler
        for signum, handler in _HANDLERS.items()
        if signal.getsignal(signum) in (signal.SIG_DFL, signal.default_int_handler)
    }
    for signum in heeded:
        signal.signal(signum, _leave)
    from nfvae.commands.cli import run

    try:
        return run(sys.argv[1:], lambda: [signal.signal(signum, handler) for signum, handler in heeded.items()])
    finally:
        with suppress(BrokenPipeError):
            sys.stdout.flush()
        is_unread()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _leave(signum: int, frame: FrameType | None) -> NoReturn:
    print("nfvae: interrupted", file=sys.stderr, flush=True)
    os._exit(128 + signum)


_HANDLERS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: end}


if __name__ == "__main__":
    sys.exit(main())
