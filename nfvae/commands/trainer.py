"""Checks of the settings of Lightning's Trainer."""

import os
from collections.abc import Mapping
from typing import Any

import torch

from nfvae.registry import check_number

_NOT_ZERO = ("max_epochs", "max_steps")
_POSITIVE = (
    *("limit_train_batches", "limit_val_batches", "val_check_interval", "check_val_every_n_epoch"),
    *("log_every_n_steps", "accumulate_grad_batches", "num_nodes"),
)
_CLUSTERS = {"MASTER_ADDR", "SLURM_NTASKS", "LSB_JOBID"}  # variables that a launcher of processes sets
_ALWAYS_ALLOWED = 8  # processes, even on one processor


def check_trainer(settings: Mapping[str, Any]) -> None:
    """Refuse settings that Lightning's Trainer accepts, but that train nothing, fail late or never begin.

    Args:
        settings: settings of the trainer, by name.

    Raises:
        ValueError: for such a setting.
    """
    for name in _NOT_ZERO:
        if settings[name] == 0 or (settings[name] or 1) < -1:
            raise ValueError(f"trainer.{name} must be at least 1, or -1 for no limit; got {settings[name]}")
    for name in _POSITIVE:
        if settings[name] is not None and not isinstance(settings[name], str | dict):
            check_number(f"trainer.{name}", settings[name], above=0)
    if 0 < settings["max_epochs"] < (every := settings["check_val_every_n_epoch"]):
        raise ValueError(
            f"trainer.check_val_every_n_epoch {every} is never reached: max_epochs {settings['max_epochs']}"
        )
    if settings["gradient_clip_val"] is not None:
        check_number("trainer.gradient_clip_val", settings["gradient_clip_val"], least=0)
    if settings["overfit_batches"]:
        raise ValueError("trainer.overfit_batches cannot cut these data: take trainer.limit_train_batches")
    check_processes(settings)


def check_processes(settings: Mapping[str, Any]) -> None:
    """Refuse more processes than the machine can run, and several machines without a launcher.

    Args:
        settings: settings of the trainer by name: devices, accelerator and num_nodes.

    Raises:
        ValueError: for such settings.
    """
    devices, processors = str(settings["devices"]), max(os.cpu_count() or 1, _ALWAYS_ALLOWED)
    on_cpu = settings["accelerator"] == "cpu" or (settings["accelerator"] == "auto" and not torch.cuda.is_available())
    if on_cpu and devices.isdigit() and int(devices) > processors:
        raise ValueError(f"trainer.devices {devices} are more processes than this machine can run, {processors}")
    nodes = settings["num_nodes"]
    check_number("trainer.num_nodes", nodes, least=1)
    if nodes > 1 and not _CLUSTERS & os.environ.keys():
        raise ValueError("trainer.num_nodes above 1 waits for other machines: start by torchrun or SLURM there")
