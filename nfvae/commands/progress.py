"""Progress bars."""

import time
from typing import Any, cast

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from typing_extensions import override


class MetricProgressBar(RichProgressBar):
    """A rich progress bar that shows the monitored metric, and costs a training step next to nothing.

    It looks at the metrics, and so waits for the device, a few times a second only.

    Args:
        per_second: refreshes a second.
    """

    def __init__(self, per_second: int = 2) -> None:
        super().__init__(refresh_rate=per_second, leave=False)
        self._next = 0.0

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        last = batch_idx + 1 == trainer.num_training_batches
        if last or time.monotonic() >= self._next:
            self._next = time.monotonic() + 1 / self.refresh_rate
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    @override
    def get_metrics(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        shown: dict[str, int | str | float | dict[str, float]] = {}
        if trainer.training:
            name, value = cast(Any, pl_module).latest()
            shown[name] = value
        monitor = cast(Any, pl_module).monitor
        if monitor in trainer.callback_metrics:
            shown[monitor] = float(trainer.callback_metrics[monitor])
        return shown


class ImagesProgressBar(pl.Callback):
    """Show how many images an evaluation has done, how many a second, and the time left."""

    progress: Progress

    @override
    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        rate = TextColumn("images, {task.fields[rate]} images/s, left:")
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn()
        )
        self.total = cast(Any, pl_module).images_left()
        self.task = self.progress.add_task(cast(Any, pl_module).title, total=self.total, rate="-")
        self.done, self.start = 0, time.monotonic()
        if trainer.is_global_zero:
            self.progress.start()

    @override
    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.done = min(self.done + len(batch) * trainer.world_size, self.total)
        rate = f"{self.done / (time.monotonic() - self.start):.3g}"
        self.progress.update(self.task, completed=self.done, rate=rate)

    @override
    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.progress.stop()

    @override
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if hasattr(self, "progress"):
            self.progress.stop()
