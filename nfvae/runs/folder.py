"""The folder of a run: its name, and every path and plain file in it."""

import glob
import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nfvae.data import DATASETS
from nfvae.runs.metrics import read_rows
from nfvae.runs.yamls import read_yaml

_LONGEST_WORD = 40  # of a name that is made here
_LONGEST_NAME = 200  # bytes; a file system takes 255, and locks have longer names
_BEST, _LAST = "best.ckpt", "last.ckpt"


def experiment_name(settings: Mapping[str, Any]) -> str:
    """Name what runs of one configuration and several seeds have in common.

    The name says data, network, flow and depth, prior, objective, gradient and what a student learns from. Every choice
    but data, flow and depth is left out where it is the default of `nfvae.FlowVAE`.

    Args:
        settings: of the run, nested as in its config.yaml.

    Example:
        >>> model = {"encoder": "gated", "decoder": "gated", "flow": "planar", "depth": 10, "prior": "flow"}
        >>> experiment_name({"data": {"dataset": "mnist"}, "model": model})
        'mnist-gated-planar-10-flowprior'
    """
    model, data = settings["model"], settings["data"]
    networks = dict.fromkeys(_network(model, role) for role in ("encoder", "decoder") if role in model)
    chosen = {"prior": ("normal", "prior"), "objective": ("elbo", ""), "gradient": ("plain", "")}
    words = [
        _images(data),
        *(["static"] if data.get("binarization") == "static" else []),
        *([] if [*networks] == ["mlp"] else networks),
        _short(model["flow"]),
        str(model["depth"]),
        *(_short(model[role]) + end for role, (usual, end) in chosen.items() if model.get(role, usual) != usual),
        *([_short(model.get("target", "student"))] if model.get("teacher") else []),
    ]
    return "-".join(words)


def _short(name: object) -> str:
    """Return a name, of package.module:Class the class, as part of a folder's name."""
    return re.sub(r"[^\w-]+", "-", str(name).rpartition(":")[2].lower()).strip("-")[:_LONGEST_WORD]


def _network(model: Mapping[str, Any], role: str) -> str:
    """Name a network; fully connected layers by their activation unless it is the default."""
    name = _short(model[role])
    activation = (model.get(f"{role}_options") or {}).get("activation", "relu")
    if activation == "relu":
        return name
    return _short(activation) if name == "mlp" else f"{name}-{_short(activation)}"


def _images(data: Mapping[str, Any]) -> str:
    """Name a data set; images of your own by their file or folder."""
    own = data["dataset"] in DATASETS and DATASETS.load(data["dataset"]).is_root
    return (own and _short(Path(data.get("root") or "").stem)) or _short(data["dataset"])


def run_name(settings: Mapping[str, Any]) -> str:
    """Return the name that a run was given, or else the experiment's with the seed.

    Raises:
        ValueError: for a name that is no folder of its own below the folder of all runs.
    """
    name = settings.get("name")
    if name is None:
        return f"{experiment_name(settings)}-seed{settings['seed_everything']}"
    parts = str(name).split("/")
    if max(len(part.encode()) for part in parts) > _LONGEST_NAME:
        raise ValueError(f"a run's name has at most {_LONGEST_NAME} bytes; got {name!r}")
    if not (str(name).isprintable() and all(part.strip() and part not in (".", "..") for part in parts)):
        raise ValueError(
            f"a run's name is a folder within the folder of runs, such as mine or group/mine; got {name!r}"
        )
    if any(part.startswith(".") for part in parts):  # as those of runs that --overwrite has set aside
        raise ValueError(f"a run's name must not begin with a dot; got {name!r}")
    return str(name)


def wandb_name(evaluation: str) -> str:
    """Return what the numbers of an evaluation are called in wandb, as test/importance-5000."""
    _, split, estimator = evaluation.split("-", 2)
    return f"{split}/{estimator}"


class RunFolder:
    """The folder of a run, RUNS/NAME; every path in it is spelled here alone.

    Args:
        path: the folder, which need not be there yet.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.best, self.last = self.path / "checkpoints" / _BEST, self.path / "checkpoints" / _LAST
        self.config, self.latents = self.path / "config.yaml", self.path / "latents.pt"
        self.mark = self.path / ".trained-here"
        self.metrics, self.steps = self.path / "metrics.csv", self.path / "steps.csv"

    @classmethod
    def of_checkpoint(cls, path: Path) -> "RunFolder":
        """Return the folder that a checkpoint belongs to."""
        path = path if path.parent.name else path.resolve()
        return cls(path.parent.parent if path.parent.name == "checkpoints" else path.parent)

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.resolve().name

    def all_replaced(self) -> list[Path]:
        """Return the runs of this name that were set aside, to be replaced, the oldest first."""
        found = self.path.parent.glob(f".{glob.escape(self.path.name)}.replaced*")
        return sorted(path for path in found if path.is_dir())

    def next_replaced(self) -> Path:
        """Return where a run goes that is set aside."""
        names = (f".{self.path.name}.replaced{count or ''}" for count in itertools.count())
        return next(path for name in names if not (path := self.path.parent / name).exists())

    @property
    def is_trained(self) -> bool:
        """Whether there is a checkpoint of ours."""
        return self.best.is_file() or self.last.is_file()

    @property
    def inner(self) -> list[Path]:
        """The runs that lie within this one."""
        folders = sorted(path.parent for path in self.path.rglob(self.config.name) if path != self.config)
        return [folder for folder in folders if "wandb" not in folder.relative_to(self.path).parts]

    def check_files(self) -> None:
        """Refuse a folder in the place of a file, before anything is changed.

        Raises:
            ValueError: for such a folder.
        """
        for path in (self.best, self.last, self.config, self.metrics, self.steps):
            if path.is_dir():
                raise ValueError(f"{path} is a folder; expected a file")

    def picture(self, name: str) -> Path:
        """Return where a picture goes that belongs to the training."""
        return self.path / f"{name}.png"

    def drawn(self, name: str) -> Path:
        """Return where a picture goes that is drawn later."""
        return self.path / "plots" / f"{name}.png"

    def report(self, command: str) -> Path:
        """Return where the results of `validate` or `test` go."""
        return self.path / f"{command}.json"

    def evaluation(self, name: str) -> Path:
        """Return where an evaluation's summary lies; its other files lie beside it, of the same name."""
        return self.path / f"{name}.json"

    def evaluations(self) -> list[str]:
        """Return the names of the evaluations that are there."""
        return sorted(path.stem for path in self.path.glob("evaluation-*.json"))

    def settings(self) -> dict[str, Any]:
        """Read config.yaml; empty where there is none.

        Raises:
            ValueError: if it is damaged.
        """
        if not self.config.is_file():
            return {}
        if not (content := read_yaml(self.config)):
            raise ValueError(f"{self.config} is damaged: it holds no settings")
        return content

    def history(self) -> list[dict[str, float]]:
        """Read metrics.csv, a row an epoch; none where training wrote no such file.

        Raises:
            ValueError: if it is damaged.
        """
        return read_rows(self.metrics)

    def checkpoint(self, last: bool = False) -> Path:
        """Return the checkpoint that stands for the run: its best, or its last, or the only one that there is.

        A training that was killed between its first best checkpoint and its first last one has the best one alone.

        Raises:
            FileNotFoundError: if there is no such run, or no checkpoint in it yet.
            ValueError: if there are several, none of them ours.
        """
        if not self.path.is_dir():
            raise FileNotFoundError(f"there is no run {self.path}")
        own = self.last if last and self.last.is_file() else self.best
        if own.is_file():
            return own
        others = sorted({*self.path.glob("checkpoints/*.ckpt")} - {self.best, self.last})
        if len(others) == 1:
            return others[0]
        if others:
            raise ValueError(f"run {self.path} has several checkpoints; name one of {', '.join(map(str, others))}")
        if self.last.is_file():
            raise FileNotFoundError(
                f"run {self.path} has no {self.best.name}, which a validation makes; name {self.last}"
            )
        raise FileNotFoundError(f"run {self.path} has no checkpoint yet: {own} is written by nfvae fit")
