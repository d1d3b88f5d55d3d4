"""The metrics of a training: a row of them an epoch, and no step beyond a loss that is lost."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
from torch import Tensor
from typing_extensions import override

from nfvae.runs.metrics import Row
from nfvae.training.means import Means

_CURE = (
    "scale the data to mean 0 and deviation 1, take fewer layers, or begin the flow with activation normalization "
    "(flow chain, whose first part is {flow: actnorm, flow_options: {start: data}})"
)

Sink = Callable[[Row], None]


class MetricRows(pl.LightningModule, ABC):
    """A LightningModule that writes one row of metrics an epoch, before the epoch's checkpoint.

    Attributes:
        epoch_sinks: what else is called with each row.
        step_sinks: what is called with the metrics of single steps.

    Raises:
        FloatingPointError: from its steps, if the loss or a metric is not finite.
    """

    def __init__(self) -> None:
        super().__init__()
        self.step_function: Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]] = self.loss_and_metrics
        self.step_metrics: dict[str, float] = {}
        self.epoch_means, self.evaluation_means = Means(), Means()
        self.validation: tuple[int, dict[str, float]] = (-1, {})  # the step after which it was, and what it found
        self.epoch_start = time.perf_counter()
        self.epoch_sinks, self.step_sinks = list[Sink](), list[Sink]()

    @abstractmethod
    def loss_and_metrics(self, batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss, a scalar in nats, and what is logged by name, detached; a progress bar shows the first."""

    @abstractmethod
    def evaluation_metrics(self, split: str, batch: Tensor) -> dict[str, Tensor]:
        """Return by name what is logged of a batch of the `val` or `test` split."""

    def anneal(self, step: int, epochs: float) -> None:
        """Set whatever changes in the course of training; called before each training step.

        Args:
            step: optimizer steps done.
            epochs: epochs done, batches counted as fractions.
        """

    def latest(self) -> tuple[str, float]:
        """Return name and value of the first metric on the last training batch; asking waits for the device."""
        name, value = next(iter(self.epoch_means.latest.items()))
        return name, float(value)

    @property
    def is_validated(self) -> bool:
        """Whether the weights are those of the last validation."""
        return self.validation[0] == self.global_step

    @override
    def on_train_epoch_start(self) -> None:
        self.epoch_means, self.epoch_start = Means(), time.perf_counter()

    def as_batch(self, batch: Any, first: bool) -> Tensor:
        """Take the data of a batch, see `data_of`, of the model's floating type; more is checked of the first one."""
        return data_of(batch).to(self.dtype)

    @override
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Anneal, and return the loss, in nats.

        Raises:
            FloatingPointError: if the loss is not finite; on a GPU seen every `log_every_n_steps` steps alone.
        """
        self.anneal(self.global_step, self.current_epoch + batch_idx / float(self.trainer.num_training_batches))
        data = self.as_batch(batch, batch_idx == 0)
        loss, metrics = self.step_function(data)
        self.epoch_means.add(metrics, len(data))
        log_now = (self.global_step + 1) % getattr(self.trainer, "log_every_n_steps", 50) == 0
        if (log_now or self.device.type == "cpu") and not math.isfinite(loss.item()):
            raise _not_finite(metrics, f"step {self.global_step} of training", self.global_step == 0)
        if log_now:
            name, value = self.latest()
            self.step_metrics[f"train/{name}_step"] = value
        return loss

    @override
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.step_metrics:
            _write(self, self.step_metrics, self.step_sinks)
            self.step_metrics.clear()

    @override
    def on_train_epoch_end(self) -> None:
        """Log the epoch's means, with a validation of the weights as they now are, before a checkpoint is written."""
        if not self.epoch_means.batches:  # resumed from a checkpoint of the epoch's very last step
            return
        means = self._logged("train", self.epoch_means, logger=False)
        means |= self.validation[1] if self.is_validated else {}
        _write(self, {"seconds": time.perf_counter() - self.epoch_start, **means}, self.epoch_sinks)

    @override
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluation_step("val", batch, batch_idx)

    @override
    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluation_step("test", batch, batch_idx)

    @override
    def on_validation_epoch_end(self) -> None:
        """Log the means over the validation set, which in a fit join the epoch's row."""
        found = self._logged("val", self.evaluation_means, logger=self.trainer.state.fn != "fit", prog_bar=True)
        if not self.trainer.sanity_checking:
            self.validation = self.global_step, found

    @override
    def on_test_epoch_end(self) -> None:
        self._logged("test", self.evaluation_means, prog_bar=True)

    def _evaluation_step(self, split: str, batch: Any, batch_idx: int) -> None:
        self.evaluation_means = self.evaluation_means if batch_idx else Means()
        data = self.as_batch(batch, batch_idx == 0)
        self.evaluation_means.add(self.evaluation_metrics(split, data), len(data))

    def _logged(self, split: str, means: Means, **options: Any) -> dict[str, float]:
        """Have Lightning log means over all data of all processes, and return them by name."""
        found = {f"{split}/{name}": float(value) for name, value in means.over_processes(self.trainer).items()}
        if not all(map(math.isfinite, found.values())):
            after = f"the {split} set after step {self.global_step}"
            raise _not_finite(found, f"epoch {self.current_epoch} of training" if split == "train" else after)
        self.log_dict(found, batch_size=1, sync_dist=True, **options)  # each process has the same
        return found


def _write(module: MetricRows, metrics: dict[str, float], sinks: list[Sink]) -> None:
    """Log a row, and have it on disk at once."""
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


def _not_finite(metrics: Mapping[str, Tensor | float], where: str, at_start: bool = False) -> FloatingPointError:
    names = [name.rpartition("/")[2] for name, value in metrics.items() if not math.isfinite(value)]
    listed = ", ".join(names) or "none of the metrics"
    cure = "; no step was taken yet, so that a lower learning rate changes nothing: " + _CURE if at_start else ""
    return FloatingPointError(f"loss is not finite in {where}; not finite: {listed}{cure}")
