"""What every training here shares: optimizer and schedule, rows of metrics, and no step beyond a loss that is lost."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, MultiStepLR

from nfvae.callbacks import ReproducibleEpochs

CHOICES = {"optimizer": ("adam", "adamax"), "schedule": ("constant", "cosine", "multistep")}


class Learner(pl.LightningModule, ABC):
    """A LightningModule that writes one row of metrics an epoch, before the epoch's checkpoint.

    A subclass saves its hyperparameters, among them `optimizer`, `lr`, `schedule`, `milestones` and `compile`, calls
    `check_choices`, and says what its loss is.

    Attributes:
        size: the hyperparameter that says how many numbers a datum has; the data have an attribute of that name.
        architecture: the hyperparameters that a checkpoint must share to be loaded.
        judged_by: the validation metric that tells the best epoch, and whether it is to be `max` or `min`.
        clip: largest norm of a gradient, where the trainer has no `gradient_clip_val` of its own; None for no limit.
    """

    size: ClassVar[str]
    architecture: ClassVar[tuple[str, ...]]
    judged_by: tuple[str, str]
    clip: ClassVar[float | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.step_function: Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]] = self.loss_and_metrics
        self._teacher: tuple[nn.Module, ...] = ()  # one or none; in a tuple it is no submodule and enters no checkpoint
        self.step_metrics: dict[str, float] = {}
        self.epoch_metrics: list[dict[str, Tensor]] = []
        self.epoch_start = time.perf_counter()

    @abstractmethod
    def loss_and_metrics(self, batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss, a scalar in nats, and what is logged by name, detached; a progress bar shows the first."""

    @abstractmethod
    def evaluation_metrics(self, split: str, batch: Tensor) -> dict[str, Tensor]:
        """Return by name what is logged of a batch of the `val` or `test` split."""

    def check_choices(self, **further: tuple[str, ...]) -> None:
        """Refuse unknown names among the hyperparameters.

        Raises:
            ValueError: for an unknown name, or milestones that `multistep` lacks.
        """
        for name, known in (CHOICES | further).items():
            if self.hparams[name] not in known:
                raise ValueError(f"unknown {name} {self.hparams[name]!r}; known: {', '.join(known)}")
        if self.hparams["schedule"] == "multistep" and not self.hparams["milestones"]:
            raise ValueError("schedule multistep needs milestones, as [20, 40]")

    def check_data(self, data: Any) -> None:
        """Refuse data of another size than the model's.

        Raises:
            ValueError: for such data.
        """
        expected = self.hparams[self.size]
        if (size := getattr(data, self.size, expected)) != expected:
            raise ValueError(f"the model expects {expected} {self.size}; the data have {size}")

    def latest(self) -> tuple[str, float]:
        """Return name and value of the first metric on the last training batch; asking waits for the device."""
        name, value = next(iter(self.epoch_metrics[-1].items()))
        return name, float(value)

    def epochs_done(self, batch_idx: int) -> float:
        """Return the time before a training batch in epochs, batches counted as fractions."""
        return self.current_epoch + batch_idx / float(self.trainer.num_training_batches)

    # Lightning's hooks, in the order in which a run meets them

    def configure_callbacks(self) -> list[pl.Callback]:
        """Add what makes a resumed run equal to one that was never interrupted."""
        return [ReproducibleEpochs()]

    def setup(self, stage: str) -> None:
        """Check the data, bring a teacher to the device, and compile the step where that is asked for."""
        self.check_data(getattr(self.trainer, "datamodule", None))
        for teacher in self._teacher:
            teacher.to(self.trainer.strategy.root_device)
        if stage == "fit" and self.hparams["compile"]:
            self.step_function = torch.compile(self.loss_and_metrics)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another architecture, saying what differs."""
        saved = checkpoint["hyper_parameters"]
        differences = [
            f"{name} {saved.get(name)!r} where the model has {self.hparams[name]!r}"
            for name in self.architecture
            if saved.get(name) != self.hparams[name]
        ]
        if differences:
            raise ValueError(f"the checkpoint has {', '.join(differences)}")

    def configure_optimizers(self) -> Any:
        """Return Adam (fused where there is such a kernel) or Adamax, with the schedule."""
        learning = [parameter for parameter in self.parameters() if parameter.requires_grad]
        if self.hparams["optimizer"] == "adam":
            fused = self.device.type in ("cpu", "cuda")
            optimizer: torch.optim.Optimizer = torch.optim.Adam(learning, self.hparams["lr"], fused=fused)
        else:
            optimizer = torch.optim.Adamax(learning, self.hparams["lr"])
        if self.hparams["schedule"] == "cosine":
            steps = self.trainer.estimated_stepping_batches
            cosine = LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * min(1.0, step / steps))) / 2)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}
        if self.hparams["schedule"] == "multistep":
            return [optimizer], [MultiStepLR(optimizer, self.hparams["milestones"])]
        return optimizer

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as the trainer says, or else at `clip`."""
        limit = self.clip if gradient_clip_val is None else gradient_clip_val
        self.clip_gradients(optimizer, limit, gradient_clip_algorithm or "norm")

    def on_train_epoch_start(self) -> None:
        """Forget the last epoch's metrics."""
        self.epoch_metrics.clear()
        self.epoch_start = time.perf_counter()

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Return the loss, in nats.

        Raises:
            FloatingPointError: if the loss is not finite. On a GPU, where looking costs a synchronisation, only every
                `log_every_n_steps` steps and before a checkpoint is written.
        """
        loss, metrics = self.step_function(batch)
        self.epoch_metrics.append(metrics)
        log_now = (self.global_step + 1) % getattr(self.trainer, "log_every_n_steps", 50) == 0
        if (log_now or self.device.type == "cpu") and not math.isfinite(loss.item()):
            raise _not_finite(metrics, f"step {self.global_step} of training")
        if log_now:
            name, value = self.latest()
            self.step_metrics[f"train/{name}_step"] = value
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log what there is of this step as one row."""
        if self.step_metrics:
            self._write(self.step_metrics, self.global_step)
            self.step_metrics.clear()

    def on_train_epoch_end(self) -> None:
        """Log the epoch's means and those of its validation as one row, before a checkpoint is written."""
        if not self.epoch_metrics:  # resumed from a checkpoint of the epoch's very last step
            return
        rows = torch.stack([torch.stack(list(metrics.values())) for metrics in self.epoch_metrics])
        means: Tensor = self.trainer.strategy.reduce(rows.mean(0), reduce_op="mean")
        metrics = dict(zip(self.epoch_metrics[0], means, strict=True))
        if not means.isfinite().all():
            raise _not_finite(metrics, f"epoch {self.current_epoch} of training")
        metrics = {f"train/{name}": value for name, value in metrics.items()}
        self.log_dict(metrics, logger=False, sync_dist=True)
        validation = {key: value for key, value in self.trainer.callback_metrics.items() if key.startswith("val/")}
        seconds = {"seconds": time.perf_counter() - self.epoch_start}
        self._write(seconds | {key: float(value) for key, value in (metrics | validation).items()}, self.global_step)

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Log the means over the validation set."""
        self._evaluation_step("val", batch)

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        """Log the means over the test set."""
        self._evaluation_step("test", batch)

    def _evaluation_step(self, split: str, batch: Tensor) -> None:
        metrics = self.evaluation_metrics(split, batch)
        if not torch.stack(list(metrics.values())).isfinite().all():
            raise _not_finite(metrics, f"the {split} set after step {self.global_step}")
        alone = self.trainer.state.fn != "fit"  # in a fit they join the epoch's row
        metrics = {f"{split}/{name}": value for name, value in metrics.items()}
        self.log_dict(metrics, batch_size=len(batch), sync_dist=True, logger=alone, prog_bar=True)

    def _write(self, metrics: dict[str, float], steps: int) -> None:
        """Log a row after so many steps are done, and have it on disk at once."""
        for logger in self.loggers:
            logger.log_metrics({"epoch": self.current_epoch, **metrics}, steps)
            logger.save()


def _not_finite(metrics: dict[str, Tensor], where: str) -> FloatingPointError:
    names = [name for name, value in metrics.items() if not value.isfinite()]
    return FloatingPointError(f"loss is not finite in {where}; not finite: {', '.join(names) or 'none of the metrics'}")
