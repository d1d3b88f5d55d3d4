"""Optimizers and learning-rate schedules, by name."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Adam, Adamax, Optimizer
from torch.optim.lr_scheduler import LambdaLR, MultiStepLR

from nfvae.registry import check_choice

OPTIMIZERS = ("adam", "adamax")
SCHEDULES = ("constant", "cosine", "multistep")


def check_optimization(settings: Mapping[str, Any]) -> None:
    """Refuse an unknown `optimizer` or `schedule`, and `multistep` without `milestones`.

    Raises:
        ValueError: for such settings.
    """
    check_choice("optimizer", settings["optimizer"], OPTIMIZERS)
    check_choice("schedule", settings["schedule"], SCHEDULES)
    if settings["schedule"] == "multistep" and not settings["milestones"]:
        raise ValueError("schedule multistep needs milestones, as [20, 40]")


def make_optimizer(name: str, parameters: Iterable[nn.Parameter], lr: float, device: torch.device) -> Optimizer:
    """Build Adam, fused where there is such a kernel, or Adamax.

    Raises:
        ValueError: for a learning rate that the optimizer refuses.
    """
    if name == "adamax":
        return Adamax(parameters, lr)
    return Adam(parameters, lr, fused=device.type in ("cpu", "cuda"))


def with_schedule(
    optimizer: Optimizer, schedule: str, milestones: Sequence[int], count_steps: Callable[[], float]
) -> Any:
    """Return an optimizer with its schedule as Lightning's `configure_optimizers` has to.

    Args:
        optimizer: the optimizer.
        schedule: `constant`, `cosine` (to zero at the last step) or `multistep`.
        milestones: epochs at which `multistep` divides the rate by 10.
        count_steps: gives the number of steps of the whole training.
    """
    if schedule == "multistep":
        return [optimizer], [MultiStepLR(optimizer, milestones)]
    if schedule == "constant":
        return optimizer
    steps = count_steps()
    cosine = LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * min(1.0, step / steps))) / 2)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}
