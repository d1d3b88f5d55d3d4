"""How a command ends at Ctrl-C and SIGTERM: by `Ended`, whichever of Lightning's loops it is in."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_only
from pytorch_lightning.utilities.exceptions import SIGTERMException
from typing_extensions import override

from nfvae.commands import INTERRUPTED, TERMINATED, Ended, end


class EndWhenTerminated(pl.Callback):
    """End a loop without training at SIGTERM at once; Lightning would wait for its end."""

    @override
    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen, when Lightning has set its own handlers."""
        signal.signal(signal.SIGTERM, end)

    on_test_start = on_predict_start = on_validation_start


@contextmanager
def ended_by_signals(hint: Callable[[], str] = str) -> Iterator[None]:
    """Run one of Lightning's loops, which turns signals into exits of several kinds.

    Args:
        hint: says how to go on after an interruption.

    Raises:
        Ended: after Ctrl-C or SIGTERM.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:
        if not (code := _code(error)):
            raise
        if getattr(rank_zero_only, "rank", 0):
            raise SystemExit(code) from None  # the first process speaks for all
        raise Ended(code, hint()) from None


def _code(error: KeyboardInterrupt | SystemExit) -> int:
    """Return the exit code of a signal; 0 for what no signal has caused."""
    if isinstance(error, SIGTERMException) or getattr(error, "code", None) == TERMINATED:
        return TERMINATED
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        return INTERRUPTED
    return 0
