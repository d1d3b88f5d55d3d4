"""Record the metrics of a training, one row per epoch, and stop at a loss that is not finite."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
from torch import Tensor
from torch.nn.functional import one_hot
from typing_extensions import override

from nfvae.runs.metrics import Row
from nfvae.training.means import Means

_CURE = (
    "scale the data to mean 0 and deviation 1, take fewer layers, or begin the flow with activation normalization "
    "(flow chain, whose first part is {flow: actnorm, flow_options: {start: data}})"
)

Sink = Callable[[Row], None]


class Recorder(pl.Callback):
    """Collect the metrics of a module's steps, and write one row per epoch, before the epoch's checkpoint.

    Attributes:
        epoch_sinks: functions that are called with each row.
        step_sinks: functions that are called with the metrics of single steps.
        step_metrics: metrics of the current step, which are written at its end.
        validation: step of the last validation, and its metrics.
    """

    def __init__(self) -> None:
        self.epoch_sinks, self.step_sinks = list[Sink](), list[Sink]()
        self.step_metrics: dict[str, float] = {}
        self.validation: tuple[int, dict[str, float]] = (-1, {})
        self.epoch_means, self.evaluation_means = Means(), Means()
        self.epoch_start = time.perf_counter()

    def latest(self) -> tuple[str, float]:
        """Return name and value of the first metric on the last training batch; this waits for the device."""
        name, value = next(iter(self.epoch_means.latest.items()))
        return name, float(value)

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.epoch_means, self.epoch_start = Means(), time.perf_counter()

    def add_step(self, module: pl.LightningModule, loss: Tensor, metrics: Mapping[str, Tensor], count: int) -> Tensor:
        """Add the metrics of a training step on `count` data, and return its loss.

        Raises:
            FloatingPointError: if the loss is not finite; on a GPU checked only every `log_every_n_steps` steps.
        """
        self.epoch_means.add(metrics, count)
        log_now = (module.global_step + 1) % getattr(module.trainer, "log_every_n_steps", 50) == 0
        if (log_now or module.device.type == "cpu") and not math.isfinite(loss.item()):
            raise _not_finite(metrics, f"step {module.global_step} of training", module.global_step == 0)
        if log_now:
            name, value = self.latest()
            self.step_metrics[f"train/{name}_step"] = value
        return loss

    @override
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.step_metrics:
            _write(pl_module, self.step_metrics, self.step_sinks)
            self.step_metrics.clear()

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the epoch's means, with the metrics of the last validation if it used the current weights."""
        if not self.epoch_means.batches:  # resumed from a checkpoint of the epoch's last step
            return
        means = _logged(pl_module, "train", self.epoch_means, logger=False)
        means |= self.validation[1] if self.validation[0] == pl_module.global_step else {}
        _write(pl_module, {"seconds": time.perf_counter() - self.epoch_start, **means}, self.epoch_sinks)

    def add_evaluation(self, metrics: Mapping[str, Tensor], count: int, first: bool) -> None:
        """Add the metrics of a batch of validation or test data."""
        self.evaluation_means = Means() if first else self.evaluation_means
        self.evaluation_means.add(metrics, count)

    @override
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the means over the validation set; during a fit they are added to the epoch's row."""
        found = _logged(pl_module, "val", self.evaluation_means, logger=trainer.state.fn != "fit", prog_bar=True)
        if not trainer.sanity_checking:
            self.validation = pl_module.global_step, found

    @override
    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        _logged(pl_module, "test", self.evaluation_means, prog_bar=True)


def _logged(module: pl.LightningModule, split: str, means: Means, **options: Any) -> dict[str, float]:
    """Log means over the data of all processes through Lightning, and return them by name."""
    found = {f"{split}/{name}": float(value) for name, value in means.over_processes(module.trainer).items()}
    if not all(map(math.isfinite, found.values())):
        after = f"the {split} set after step {module.global_step}"
        raise _not_finite(found, f"epoch {module.current_epoch} of training" if split == "train" else after)
    module.log_dict(found, batch_size=1, sync_dist=True, **options)  # all processes have the same values
    return found


def _write(module: pl.LightningModule, metrics: dict[str, float], sinks: list[Sink]) -> None:
    """Log a row, and write it to disk immediately."""
    for logger in module.loggers:
        logger.log_metrics({"epoch": module.current_epoch, **metrics}, module.global_step)
        logger.save()
    for sink in sinks:
        sink({"epoch": module.current_epoch, "step": module.global_step, **metrics})


def data_of(batch: Any) -> Tensor:
    """Return the data of a batch, which is a tensor, or a tuple or list that begins with one.

    Raises:
        ValueError: for anything else.
    """
    data = batch[0] if isinstance(batch, list | tuple) and batch else batch
    if not isinstance(data, Tensor):
        raise ValueError(f"expected a batch of data, or of data and labels; got {type(batch).__name__}")
    return data


def condition_of(batch: Any, size: int) -> Tensor:
    """Return the conditions of a batch of data and labels, with shape (B, C): whole numbers below C become one-hot.

    Raises:
        ValueError: for a batch without labels, or labels that are no such numbers.
    """
    labels = batch[1] if isinstance(batch, list | tuple) and len(batch) > 1 else None
    if not isinstance(labels, Tensor):
        raise ValueError("the model is conditioned: expected a batch of data and labels")
    if labels.ndim > 1 or labels.is_floating_point():
        return labels
    if labels.min() < 0 or labels.max() >= size:
        raise ValueError(f"expected labels 0 ... {size - 1}; got {int(labels.min())} ... {int(labels.max())}")
    return one_hot(labels.long(), size)


def _not_finite(metrics: Mapping[str, Tensor | float], where: str, at_start: bool = False) -> FloatingPointError:
    names = [name.rpartition("/")[2] for name, value in metrics.items() if not math.isfinite(value)]
    listed = ", ".join(names) or "none of the metrics"
    cure = "; no step was taken yet, so that a lower learning rate changes nothing: " + _CURE if at_start else ""
    return FloatingPointError(f"loss is not finite in {where}; not finite: {listed}{cure}")
