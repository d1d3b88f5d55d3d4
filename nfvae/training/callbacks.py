"""Lightning callbacks that belong to training."""

import random
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import BatchSizeFinder, EarlyStopping, LearningRateFinder, StochasticWeightAveraging
from torch.nn.utils import get_total_norm
from typing_extensions import override


class ReproducibleEpochs(pl.Callback):
    """Seed every training epoch from the run's seed, the epoch and the device alone.

    A run resumed from the checkpoint at the end of an epoch then continues exactly like an uninterrupted run.
    """

    def __init__(self) -> None:
        self.seed: int | None = None

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.seed is None:
            self.seed = torch.initial_seed()

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        source = random.Random(f"{self.seed} {trainer.current_epoch} {trainer.global_rank}")
        torch.manual_seed(source.getrandbits(63))

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"seed": self.seed}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seed = state_dict["seed"]


class Norms(pl.Callback):
    """Log the norms of the unclipped gradients and of the parameters every `log_every_n_steps` steps."""

    @override
    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if (trainer.global_step + 1) % getattr(trainer, "log_every_n_steps", 50):
            return
        learning = [parameter for parameter in pl_module.parameters() if parameter.grad is not None]
        gradients = [cast(torch.Tensor, parameter.grad) for parameter in learning]
        row = cast(Any, pl_module).recorder.step_metrics
        row["train/gradient_norm"] = float(get_total_norm(gradients))
        row["train/parameter_norm"] = float(get_total_norm(learning))


_DIRECTION = {"max": "higher", "min": "lower"}
_BETTER = {"val/elbo": "max", "val/iwae": "max", "val/nll": "min", "val/reverse_kl": "min"}  # direction of improvement


def check_callbacks(trainer: pl.Trainer) -> None:
    """Refuse Lightning callbacks that would produce wrong metrics or weights.

    Raises:
        ValueError: if the trainer has one.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        name = type(callback).__name__
        better = _BETTER.get(getattr(callback, "monitor", None) or "")
        if better and getattr(callback, "mode", better) != better:
            raise ValueError(f"{name}: {callback.monitor} is better the {_DIRECTION[better]}: give it mode {better}")
        if isinstance(callback, StochasticWeightAveraging):
            raise ValueError(f"{name} leaves its weights in no checkpoint: take EMAWeightAveraging")
        if isinstance(callback, BatchSizeFinder | LearningRateFinder) and not callback._early_exit:
            raise ValueError(
                f"{name} trains trial steps within the run, whose metrics would mix with the run's: search before, by "
                "pytorch_lightning.tuner.Tuner in Python, and give what it finds as --data.batch_size or --model.lr"
            )


def begin_patience_anew(trainer: pl.Trainer, checkpoint: dict[str, Any]) -> None:
    """Resume early stopping with the current patience; reset its counter if the run had stopped."""
    for callback in trainer.early_stopping_callbacks:
        if state := checkpoint.get("callbacks", {}).get(callback.state_key):
            state["patience"] = callback.patience
            if checkpoint.get("stopped"):
                state |= {"wait_count": 0, "stopped_epoch": 0}


class StopAfterWarmUp(EarlyStopping):
    """Stop early as Lightning's EarlyStopping does, but only after the objective has its final form.

    While the KL weight warms up, the bound rises and falls for reasons unrelated to convergence.

    Args:
        patience: number of validations without improvement before training stops.
        monitor: metric to watch.
        mode: `max` if a larger metric is better, `min` if a smaller one is.
        min_delta: smallest change that counts as an improvement.
    """

    def __init__(
        self, patience: int = 50, monitor: str = "val/elbo", mode: str = "max", min_delta: float = 0.0
    ) -> None:
        super().__init__(monitor, min_delta, patience, mode=mode)

    @override
    def _should_skip_check(self, trainer: pl.Trainer) -> bool:
        warming = getattr(trainer.lightning_module, "is_warming_up", False)
        return bool(warming) or super()._should_skip_check(trainer)
