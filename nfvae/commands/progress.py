"""What is seen of a training or an evaluation while it runs."""

import time
from collections.abc import Mapping
from typing import Any, cast

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.callbacks.progress.rich_progress import RichProgressBarTheme
from pytorch_lightning.utilities import rank_zero_only
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from torch import nn
from typing_extensions import override

from nfvae.flows import Flow
from nfvae.runs import Table
from nfvae.runs.tables import Column


@rank_zero_only
def print_epoch(row: Mapping[str, float], epochs: int | None, monitor: str) -> None:
    """Print the metrics of an epoch on one line, where there is no terminal for a progress bar.

    Args:
        row: the epoch's metrics, as metrics.csv has them.
        epochs: how many there will be; None where that is not known.
        monitor: the validation metric that is printed, with that of training beside it.
    """
    names = [name for name in (monitor.replace("val/", "train/"), monitor) if name in row]
    values = ", ".join(f"{name} {row[name]:.2f}" for name in names)
    print(f"epoch {row['epoch'] + 1:g}/{epochs or '?'}: {values}, {row['seconds']:.1f} s", flush=True)


class ModelTable(pl.Callback):
    """Print what the model is made of when training starts."""

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            print(model_table(cast(Any, pl_module).model).text())


def model_table(model: nn.Module) -> Table:
    """List the parts of a plain model, their classes and how many parameters they have."""
    parts: dict[str, nn.Module] = dict(model.named_children())
    if "posterior" in parts:
        parts = dict(parts.pop("posterior").named_children()) | parts
    rows = [{"part": name, "class": _class_of(part), "parameters": _parameters(part)} for name, part in parts.items()]
    rows.append({"part": "in all", "class": type(model).__name__, "parameters": _parameters(model)})
    return Table(rows, [Column("part", "part"), Column("class", "class"), Column("parameters", "parameters", 0)])


def _class_of(part: nn.Module) -> str:
    return type(part).__name__ + (f", {part.depth} layers" if isinstance(part, Flow) and part.depth > 1 else "")


def _parameters(part: nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


class MetricProgressBar(RichProgressBar):
    """A rich progress bar that shows the monitored metric, and costs a training step next to nothing.

    One line of eighty columns: epoch, bar, batches, time left in the epoch, speed, and the metrics in nats.

    It looks at the metrics, and so waits for the device, a few times a second only.

    Args:
        per_second: refreshes a second.
    """

    def __init__(self, per_second: int = 2) -> None:
        theme = RichProgressBarTheme(metrics_format=".2f", metrics_text_delimiter=" ")
        super().__init__(refresh_rate=per_second, leave=False, theme=theme)
        self._next = 0.0

    @override
    def configure_columns(self, trainer: pl.Trainer) -> list[ProgressColumn]:
        description, _, _, _, speed = super().configure_columns(trainer)
        return [description, BarColumn(bar_width=8), MofNCompleteColumn(), TimeRemainingColumn(), speed]

    @override
    def _get_train_description(self, current_epoch: int) -> str:
        epochs = self.trainer.max_epochs
        return f"Epoch {current_epoch + 1}{f'/{epochs}' if epochs and epochs > 0 else ''}"

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
            shown["val"] = float(trainer.callback_metrics[monitor])
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
