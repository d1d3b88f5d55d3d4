"""Checkpoints that survive an interruption or a full disk, and keep their best score when a run is moved."""

import traceback
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins import TorchCheckpointIO
from typing_extensions import override

from nfvae.runs.files import write_tensors


class WholeCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint beside its target, and rename it once it is complete and on disk."""

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        write_tensors(Path(path), checkpoint)


class MovableCheckpoint(ModelCheckpoint):
    """Save checkpoints as ModelCheckpoint does, and keep the best score when a run is moved or copied.

    If a metric is monitored, only weights that were validated are saved, never later weights with an older score.
    """

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        recorder = getattr(pl_module, "recorder", None)
        is_validated = recorder is None or recorder.validation[0] == trainer.global_step
        if self.monitor is None or not trainer.enable_validation or is_validated:
            super().on_train_epoch_end(trainer, pl_module)

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        def moved(path: str) -> str:
            return str(Path(self.dirpath or "", Path(path).name)) if path else path

        paths = {
            name: moved(state_dict[name]) for name in ("best_model_path", "kth_best_model_path", "last_model_path")
        }
        best = {moved(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | paths | {"best_k_models": best, "dirpath": self.dirpath})


def is_of_restoring(error: Exception) -> bool:
    """Return whether an error was raised while Lightning restored a checkpoint."""
    frames = (frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(Path(code.co_filename).stem == "checkpoint_connector" and "resto" in code.co_name for code in frames)
