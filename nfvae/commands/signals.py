"""The end of a command at Ctrl-C and SIGTERM: it raises `Ended`, whichever Lightning loop is running."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_only
from pytorch_lightning.utilities.exceptions import SIGTERMException
from typing_extensions import override

from nfvae.commands import INTERRUPTED, TERMINATED, Ended, end


class EndWhenTerminated(pl.Callback):
    """End validation, test or prediction at once on SIGTERM; Lightning would wait for the loop's end."""

    @override
    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the handler, after Lightning has set its own."""
        signal.signal(signal.SIGTERM, end)

    on_test_start = on_predict_start = on_validation_start


@contextmanager
def ended_by_signals(hint: Callable[[], str] = str) -> Iterator[None]:
    """Run one of Lightning's loops, and turn its various exits after a signal into `Ended`.

    Args:
        hint: function that returns how to resume after an interruption.

    Raises:
        Ended: after Ctrl-C or SIGTERM.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:
        if not (code := _code(error)):
            raise
        if getattr(rank_zero_only, "rank", 0):
            raise SystemExit(code) from None  # only the first process prints
        raise Ended(code, hint()) from None


def _code(error: KeyboardInterrupt | SystemExit) -> int:
    """Return the exit code of a signal; 0 if no signal caused the exit."""
    if isinstance(error, SIGTERMException) or getattr(error, "code", None) == TERMINATED:
        return TERMINATED
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return INTERRUPTED
    return 0
