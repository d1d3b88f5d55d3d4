"""Progress of a training or an evaluation in the terminal."""

import math
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, cast

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.callbacks.progress.rich_progress import RichProgressBarTheme
from pytorch_lightning.utilities import rank_zero_only
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from torch import nn
from typing_extensions import override

from nfvae.flows import Flow
from nfvae.runs import Table
from nfvae.runs.tables import Column

_TITLE_LENGTH = 24  # characters of a run's name that leave room in a terminal of eighty columns


@rank_zero_only
def print_epoch(row: Mapping[str, float], epochs: int | None, monitor: str) -> None:
    """Print the metrics of an epoch on one line, if there is no terminal for a progress bar.

    Args:
        row: metrics of the epoch, as in metrics.csv.
        epochs: total number of epochs; None if unknown.
        monitor: validation metric to print, beside the same metric of training.
    """
    names = [name for name in (monitor.replace("val/", "train/"), monitor) if name in row]
    values = ", ".join(f"{name} {row[name]:.2f}" for name in names)
    print(f"epoch {row['epoch'] + 1:g}/{epochs or '?'}: {values}, {row['seconds']:.1f} s", flush=True)


class ModelTable(pl.Callback):
    """Print the parts of the model when training starts."""

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            print(model_table(cast(Any, pl_module).model).text())


def model_table(model: nn.Module) -> Table:
    """List the parts of a plain model with their classes and numbers of parameters."""
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


class Pace:
    """The speed of a training, measured over epochs with their validation.

    The first epoch may compile or read from a cold disk; it counts only until another one is complete.
    """

    def __init__(self) -> None:
        self.batches = 0
        self._marks: list[tuple[float, int]] = []  # time and batches done, at the start of each epoch

    def start_epoch(self, now: float) -> None:
        """Record the time at the start of an epoch, in seconds."""
        self._marks.append((now, self.batches))

    def batches_per_second(self, now: float) -> float:
        """Return the batches per second in this epoch."""
        start, before = self._marks[-1]
        return (self.batches - before) / max(now - start, 1e-9)

    def seconds(self, batches: float, now: float) -> float:
        """Return the expected time for a number of batches, in seconds."""
        start, before = self._marks[1 if len(self._marks) > 2 else 0]
        end, after = self._marks[-1] if len(self._marks) > 1 else (now, self.batches)
        return batches * (end - start) / max(after - before, 1)


class _Field(ProgressColumn):
    """A column with a text field of a task; empty if the task lacks it, at the start or in validation."""

    def __init__(self, name: str, style: str = "") -> None:
        self.name, self.style = name, style
        super().__init__()

    @override
    def render(self, task: Task) -> Text:
        return Text(task.fields.get(self.name, ""), style=self.style)


class MetricProgressBar(RichProgressBar):
    """A rich progress bar that shows the monitored metric, and costs a training step next to nothing.

    One line of eighty columns: epoch, bar, batches, time left in the training, speed, and the metrics in nats.

    It reads the metrics, which waits for the device, only a few times per second.

    Args:
        per_second: refreshes per second.
    """

    def __init__(self, per_second: int = 2) -> None:
        theme = RichProgressBarTheme(metrics_format=".2f", metrics_text_delimiter=" ")
        super().__init__(refresh_rate=per_second, leave=False, theme=theme)
        self._next = 0.0
        self._pace = Pace()

    @override
    def configure_columns(self, trainer: pl.Trainer) -> list[ProgressColumn]:
        description, *_ = super().configure_columns(trainer)
        return [description, BarColumn(bar_width=8), MofNCompleteColumn(), _Field("left"), _Field("speed", "dim")]

    @override
    def _get_train_description(self, current_epoch: int) -> str:
        epochs = self.trainer.max_epochs
        return f"Epoch {current_epoch + 1}{f'/{epochs}' if epochs and epochs > 0 else ''}"

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._pace.start_epoch(time.monotonic())
        super().on_train_epoch_start(trainer, pl_module)

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._pace.batches += 1
        now, last = time.monotonic(), batch_idx + 1 == trainer.num_training_batches
        if not last and now < self._next:
            return
        self._next = now + 1 / self.refresh_rate
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self.progress is not None and self.train_progress_bar_id is not None:
            seconds = self._pace.seconds(batches_left(trainer, batch_idx), now)
            left = f"{timedelta(seconds=round(seconds))} left" if math.isfinite(seconds) else ""
            speed = f"{_rate(self._pace.batches_per_second(now))}it/s"
            self.progress.update(self.train_progress_bar_id, left=left, speed=speed)

    @override
    def get_metrics(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        shown: dict[str, int | str | float | dict[str, float]] = {}
        if trainer.training:
            name, value = cast(Any, pl_module).recorder.latest()
            shown[name] = value
        monitor = cast(Any, pl_module).monitor
        if monitor in trainer.callback_metrics:
            shown["val"] = float(trainer.callback_metrics[monitor])
        return shown


def batches_left(trainer: pl.Trainer, batch_idx: int) -> float:
    """Return the number of training batches left after this one, in all epochs; infinity if unknown."""
    left = math.inf
    if trainer.max_epochs and trainer.max_epochs > 0:
        left = trainer.num_training_batches * (trainer.max_epochs - trainer.current_epoch) - batch_idx - 1
    if trainer.max_steps > 0:
        left = min(left, (trainer.max_steps - trainer.global_step) * trainer.accumulate_grad_batches)
    return left


def _rate(a_second: float) -> str:
    """Format a rate in a few digits."""
    return f"{a_second:,.0f}" if a_second >= 10 else f"{a_second:.2f}"


class ImagesProgressBar(pl.Callback):
    """Show the images that an evaluation has done, images per second, and the time left."""

    progress: Progress

    @override
    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        rate = TextColumn("done, {task.fields[rate]} per second, left:")
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn()
        )
        self.total = cast(Any, pl_module).images_left()
        title = cast(Any, pl_module).title
        shown = title if len(title) <= _TITLE_LENGTH else f"…{title[1 - _TITLE_LENGTH :]}"
        self.task = self.progress.add_task(shown, total=self.total, rate="-")
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
        rate = _rate(self.done / (time.monotonic() - self.start))
        self.progress.update(self.task, completed=self.done, rate=rate)

    @override
    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.progress.stop()

    @override
    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if hasattr(self, "progress"):
            self.progress.stop()
