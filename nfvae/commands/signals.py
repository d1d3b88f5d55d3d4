"""How a command ends when it is told to."""

import signal
from typing import Any, NoReturn

import pytorch_lightning as pl

from nfvae.commands import TERMINATED


class EndWhenTerminated(pl.Callback):
    """End an evaluation at SIGTERM, which Lightning heeds in training alone."""

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen, when Lightning has set its own handlers."""
        signal.signal(signal.SIGTERM, _end)


def _end(*_: Any) -> NoReturn:
    raise SystemExit(TERMINATED)
