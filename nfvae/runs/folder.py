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

_LONGEST_WORD = 40  # characters of a word in a generated name
_LONGEST_NAME = 200  # bytes; file systems allow 255, and the names of locks are longer
_BEST, _LAST = "best.ckpt", "last.ckpt"


def experiment_name(settings: Mapping[str, Any]) -> str:
    """Return the name that runs of one configuration share, whatever their seed.

    The name lists data, labels, network, flow, depth, likelihood, prior, objective, gradient and the target of a
    student. Data, flow and depth are always there. The other choices are left out if they are the default of
    `nfvae.FlowVAE`.

    Args:
        settings: settings of the run, nested as in its config.yaml.

    Example:
        >>> model = {"encoder": "gated", "decoder": "gated", "flow": "planar", "depth": 10, "prior": "flow"}
        >>> experiment_name({"data": {"dataset": "mnist"}, "model": model})
        'mnist-gated-planar-10-flowprior'
    """
    model, data = settings["model"], settings["data"]
    networks = dict.fromkeys(_network(model, role) for role in ("encoder", "decoder") if role in model)
    chosen = {
        "likelihood": ("bernoulli", ""),
        "prior": ("normal", "prior"),
        "objective": ("elbo", ""),
        "gradient": ("plain", ""),
    }
    words = [
        data_name(data),
        *(["static"] if data.get("binarization") == "static" else []),
        *(["labeled"] if data.get("labels") else []),
        *([] if [*networks] == ["mlp"] else networks),
        _short(model["flow"]),
        str(model["depth"]),
        *(_short(model[role]) + end for role, (usual, end) in chosen.items() if model.get(role, usual) != usual),
        *([_short(model.get("target", "student"))] if model.get("teacher") else []),
    ]
    return "-".join(words)


def _short(name: object) -> str:
    """Shorten a name for use in a folder's name; package.module:Class becomes its class."""
    return re.sub(r"[^\w-]+", "-", str(name).rpartition(":")[2].lower()).strip("-")[:_LONGEST_WORD]


def _network(model: Mapping[str, Any], role: str) -> str:
    """Return the name of a network with its activation unless that is the default; `mlp` is left out then."""
    name = _short(model[role])
    activation = (model.get(f"{role}_options") or {}).get("activation", "relu")
    if activation == "relu":
        return name
    return _short(activation) if name == "mlp" else f"{name}-{_short(activation)}"


def data_name(data: Mapping[str, Any]) -> str:
    """Return the name of a data set; for your own images, that of their file or folder."""
    own = data["dataset"] in DATASETS and DATASETS.load(data["dataset"]).is_root
    return (own and _short(Path(data.get("root") or "").stem)) or _short(data["dataset"])


def run_name(settings: Mapping[str, Any]) -> str:
    """Return the given name of a run, or by default the experiment's name with the seed.

    Raises:
        ValueError: if the name is not that of a folder below the folder of all runs.
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
    if any(part.startswith(".") for part in parts):  # reserved for runs that --overwrite has set aside
        raise ValueError(f"a run's name must not begin with a dot; got {name!r}")
    return str(name)


def wandb_name(evaluation: str) -> str:
    """Return the name of an evaluation's numbers in wandb, such as test/importance-5000."""
    _, split, estimator = evaluation.split("-", 2)
    return f"{split}/{estimator}"


class RunFolder:
    """The folder of a run, RUNS/NAME; only this class defines the paths in it.

    Args:
        path: the folder, which need not exist yet.
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
        """Return the replaced runs of this name that were set aside, the oldest first."""
        found = self.path.parent.glob(f".{glob.escape(self.path.name)}.replaced*")
        return sorted(path for path in found if path.is_dir())

    def next_replaced(self) -> Path:
        """Return the path to which the run can be set aside."""
        names = (f".{self.path.name}.replaced{count or ''}" for count in itertools.count())
        return next(path for name in names if not (path := self.path.parent / name).exists())

    @property
    def is_trained(self) -> bool:
        """Whether the folder has a best or a last checkpoint of nfvae."""
        return self.best.is_file() or self.last.is_file()

    @property
    def inner(self) -> list[Path]:
        """The runs in subfolders of this one."""
        folders = sorted(path.parent for path in self.path.rglob(self.config.name) if path != self.config)
        return [folder for folder in folders if "wandb" not in folder.relative_to(self.path).parts]

    def check_files(self) -> None:
        """Refuse a folder that has the name of a file to write, before anything is changed.

        Raises:
            ValueError: if there is such a folder.
        """
        for path in (self.best, self.last, self.config, self.metrics, self.steps):
            if path.is_dir():
                raise ValueError(f"{path} is a folder; expected a file")

    def picture(self, name: str) -> Path:
        """Return the path of a picture that belongs to the training."""
        return self.path / f"{name}.png"

    def drawn(self, name: str) -> Path:
        """Return the path of a picture that is drawn later."""
        return self.path / "plots" / f"{name}.png"

    def report(self, command: str) -> Path:
        """Return the path of the results of `validate` or `test`."""
        return self.path / f"{command}.json"

    def evaluation(self, name: str) -> Path:
        """Return the path of an evaluation's summary; its other files differ in the extension only."""
        return self.path / f"{name}.json"

    def evaluations(self) -> list[str]:
        """Return the names of the evaluations in the folder."""
        return sorted(path.stem for path in self.path.glob("evaluation-*.json"))

    def settings(self) -> dict[str, Any]:
        """Read config.yaml; empty if it does not exist.

        Raises:
            ValueError: if it is damaged.
        """
        if not self.config.is_file():
            return {}
        if not (content := read_yaml(self.config)):
            raise ValueError(f"{self.config} is damaged: it holds no settings")
        return content

    def history(self) -> list[dict[str, float]]:
        """Read metrics.csv, one row per epoch; empty if it does not exist.

        Raises:
            ValueError: if it is damaged.
        """
        return read_rows(self.metrics)

    def checkpoint(self, last: bool = False) -> Path:
        """Return the run's best checkpoint, or its last if requested, or else the only one in the folder.

        A training that was killed before its first last checkpoint may have only a best one.

        Raises:
            FileNotFoundError: if the run does not exist or has no checkpoint yet.
            ValueError: if there are several checkpoints, none of them from nfvae.
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
