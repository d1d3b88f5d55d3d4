"""The folder that training leaves: its checkpoint, its model and its data."""

from pathlib import Path
from typing import Any, TypeVar

import torch

from nfvae.data import BinarizedImages
from nfvae.learner import Learner
from nfvae.training import FlowVAE

BEST = Path("checkpoints", "best.ckpt")  # of the run's best epoch, within its folder
LAST = BEST.with_name("last.ckpt")
_Kind = TypeVar("_Kind", bound=Learner)


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
        """Load the VAE of the best checkpoint, on the CPU and in eval mode: see `load`."""
        return _loaded(FlowVAE, self.best, self.checkpoint)

    def data(self, **changes: Any) -> BinarizedImages:
        """Return the data that the run was trained on, with other settings where given.

        Raises:
            ValueError: if the run was trained on data of one's own, or for a setting that `BinarizedImages` refuses.
        """
        if FlowVAE.size not in self.hparams or not (settings := data_settings(self.checkpoint)):
            raise ValueError(f"run {self.folder} was not trained on BinarizedImages: its data are unknown here")
        return BinarizedImages(**settings | changes)


def load(kind: type[_Kind], path: Path, **changes: Any) -> _Kind:
    """Load what was trained, on the CPU and in eval mode.

    Args:
        kind: class of the module, or one whose models the module's checkpoint holds.
        path: a checkpoint, or the folder of a run, whose best one is meant.
        changes: hyperparameters that differ from the saved ones.

    Raises:
        FileNotFoundError: if there is no such run or checkpoint.
        ValueError: if the checkpoint is of another kind, or damaged.
    """
    return _loaded(kind, *find_checkpoint(path), **changes)


def _loaded(kind: type[_Kind], path: Path, checkpoint: dict[str, Any], **changes: Any) -> _Kind:
    if kind.size not in checkpoint["hyper_parameters"]:
        raise ValueError(f"{path} is not a checkpoint of {kind.__name__}")
    module: _Kind = kind.load_from_checkpoint(path, map_location="cpu", **changes)
    return module.eval()


def find_checkpoint(path: Path) -> tuple[Path, dict[str, Any]]:
    """Return a checkpoint's path and what it holds, for that path or for the folder of a run, whose best one is meant.

    Raises:
        FileNotFoundError: if there is no such run or checkpoint.
        ValueError: if the file is something else or damaged.
    """
    if path.suffix == ".ckpt":
        return path, read_checkpoint(path)
    run = Run(path)
    return run.best, run.checkpoint


def data_settings(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the data that a checkpoint's model was trained on; empty for data of one's own."""
    settings = checkpoint.get("datamodule_hyper_parameters") or {}
    return {name: value for name, value in settings.items() if not name.startswith("_")}


def check_same_data(teacher: Path, data: Any) -> None:
    """Refuse data of another data set than a teacher's; data of one's own are taken.

    Raises:
        ValueError: for such data.
    """
    own, other = data_settings(find_checkpoint(teacher)[1]).get("dataset"), getattr(data, "hparams", {}).get("dataset")
    if own and other and own != other:
        raise ValueError(f"the teacher {teacher} was trained on {own}; the student's data are {other}")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of a `Learner`.

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
