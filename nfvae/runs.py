"""The folder that training leaves: its checkpoint, its model and its data."""

from pathlib import Path
from typing import Any

import torch

from nfvae.data import BinarizedImages
from nfvae.training import FlowVAE

BEST = Path("checkpoints", "best.ckpt")  # of the run's best epoch, within its folder
LAST = BEST.with_name("last.ckpt")


class Run:
    """A run's folder, RUNS/NAME, with its best checkpoint.

    Args:
        folder: the folder.

    Raises:
        FileNotFoundError: if there is no such folder, or no checkpoint in it yet.
        ValueError: if the checkpoint is something else or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.best = folder, folder / BEST
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no run {folder}")
        if not self.best.is_file():
            raise FileNotFoundError(f"run {folder} has no checkpoint yet: {self.best} is written by nfvae fit")
        self.checkpoint = read_checkpoint(self.best)

    @property
    def hparams(self) -> dict[str, Any]:
        """The model's hyperparameters."""
        settings: dict[str, Any] = self.checkpoint["hyper_parameters"]
        return settings

    def module(self) -> FlowVAE:
        """Load the best checkpoint, on the CPU and in eval mode."""
        module: FlowVAE = FlowVAE.load_from_checkpoint(self.best, map_location="cpu")
        return module.eval()

    def data(self, **changes: Any) -> BinarizedImages:
        """Return the data that the run was trained on, with other settings where given.

        Raises:
            ValueError: if the run was trained on data of one's own, or for a setting that `BinarizedImages` refuses.
        """
        if not (settings := self.checkpoint.get("datamodule_hyper_parameters")):
            raise ValueError(f"run {self.folder} was not trained on BinarizedImages: its data are unknown here")
        known = {name: value for name, value in settings.items() if not name.startswith("_")}
        return BinarizedImages(**known | changes)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of `FlowVAE`.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if the file is something else or damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        checkpoint["hyper_parameters"], checkpoint["global_step"]
    except Exception as error:  # whatever the unpickler stumbles over
        raise ValueError(f"{path} is not a checkpoint of nfvae, or is damaged ({type(error).__name__})") from error
    return checkpoint
