"""A run: its folder with every path in it, its name, its checkpoint, and the plain model and data that this gives."""

import csv
import hashlib
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from nfvae.data import BinarizedImages, ToyVectors
from nfvae.flows import FlowDensity, make_density
from nfvae.models import VAE, make_vae
from nfvae.registry import check_trusted, class_paths, options_of

MODELS: dict[str, Callable[..., nn.Module]] = {"vae": make_vae, "density": make_density}
"""Builder of each kind of plain model."""
DATA: dict[str, type[BinarizedImages] | type[ToyVectors]] = {"vae": BinarizedImages, "density": ToyVectors}
"""Data that each kind of model is trained on."""
_BEST, _LAST = "best.ckpt", "last.ckpt"


def experiment_name(settings: Mapping[str, Any]) -> str:
    """Name what runs of one configuration and several seeds have in common: data set, flow, depth, and what taught it.

    Args:
        settings: of the run, nested as in its config.yaml.
    """
    model = settings["model"]
    flow = model["flow"].rpartition(":")[2].lower()
    taught = f"-{model.get('target', 'student')}" if model.get("teacher") else ""
    return f"{settings['data']['dataset'].rpartition(':')[2].lower()}-{flow}-{model['depth']}{taught}"


def run_name(settings: Mapping[str, Any]) -> str:
    """Return the name that a run was given, or else the experiment's with the seed.

    Raises:
        ValueError: for a name that is no folder of its own below the folder of all runs.
    """
    name = settings.get("name")
    if name is None:
        return f"{experiment_name(settings)}-seed{settings['seed_everything']}"
    if not all(part.strip() and part not in (".", "..") for part in str(name).split("/")):
        raise ValueError(f"a run's name is a folder below that of all runs, as mine or group/mine; got {name!r}")
    return str(name)


class RunFolder:
    """The folder of a run, RUNS/NAME; every path in it is spelled here alone.

    Args:
        path: the folder, which need not be there yet.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.best, self.last = self.path / "checkpoints" / _BEST, self.path / "checkpoints" / _LAST
        self.config, self.metrics = self.path / "config.yaml", self.path / "metrics.csv"
        self.latents = self.path / "latents.pt"
        self.replaced = self.path.parent / f".{self.path.name}.replaced"

    @classmethod
    def of_checkpoint(cls, path: Path) -> "RunFolder":
        """Return the folder that a checkpoint belongs to."""
        return cls(path.parent.parent if path.parent.name == "checkpoints" else path.parent)

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.resolve().name

    @property
    def is_trained(self) -> bool:
        """Whether there is a checkpoint of ours."""
        return self.best.is_file() or self.last.is_file()

    def picture(self, name: str) -> Path:
        """Return where a picture goes."""
        return self.path / f"{name}.png"

    def evaluation(self, split: str, samples: int) -> Path:
        """Return where an evaluation's summary lies; the values of every image lie beside it as .csv."""
        return self.path / f"evaluation-{split}-{samples}.json"

    def settings(self) -> dict[str, Any]:
        """Read config.yaml; empty where there is none.

        Raises:
            ValueError: if it is damaged.
        """
        if not self.config.is_file():
            return {}
        try:
            content = yaml.safe_load(self.config.read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{self.config} is damaged: {error}") from error
        if not isinstance(content, dict):
            raise ValueError(f"{self.config} is damaged: it holds no settings")
        return content

    def history(self) -> list[dict[str, float]]:
        """Read the epochs' rows of metrics.csv; none where training wrote no such file."""
        if not self.metrics.is_file():
            return []
        with self.metrics.open(newline="") as file:
            rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
        return [row for row in rows if "seconds" in row]

    def checkpoint(self, last: bool = False) -> Path:
        """Return the checkpoint that stands for the run: its best, or its last, or the only one that there is.

        Raises:
            FileNotFoundError: if there is no such run, or no checkpoint in it yet.
            ValueError: if there are several, none of them ours.
        """
        if not self.path.is_dir():
            raise FileNotFoundError(f"there is no run {self.path}")
        own = self.last if last else self.best
        if own.is_file():
            return own
        others = sorted({*self.path.glob("checkpoints/*.ckpt")} - {self.best, self.last})
        if len(others) == 1:
            return others[0]
        if others:
            raise ValueError(f"run {self.path} has several checkpoints; name one of {', '.join(map(str, others))}")
        raise FileNotFoundError(f"run {self.path} has no checkpoint yet: {own} is written by nfvae fit")


class Run:
    """A trained run: the checkpoint that stands for it, and what that says.

    Args:
        path: the run's folder, or a checkpoint file, one of Lightning's own included.
        trust: "package.module:Class" of your own that the checkpoint may name; those that the run's config.yaml names
            are trusted too.
        last: whether a folder stands for its last checkpoint instead of its best.

    Attributes:
        task: the name in `nfvae.training.TASKS` under which it was trained.
        kind: the name of the plain model in `MODELS`.

    Raises:
        FileNotFoundError: if there is no such run, or no checkpoint in it yet.
        ValueError: if the checkpoint is something else, damaged, or names a class that is not trusted.
    """

    def __init__(self, path: Path | str, trust: Collection[str] = (), last: bool = False) -> None:
        path = Path(path)
        is_checkpoint = path.suffix == ".ckpt" or path.is_file()
        self.folder = RunFolder.of_checkpoint(path) if is_checkpoint else RunFolder(path)
        self.path = path if is_checkpoint else self.folder.checkpoint(last)
        self.checkpoint = read_checkpoint(self.path)
        self.task, self.kind = str(self.checkpoint["task"]), str(self.checkpoint["model"])
        named = [self.settings, self.data_settings, self.task]
        check_trusted(named, self.path, {*trust, *class_paths(self.folder.settings())})

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The model's hyperparameters."""
        return _public(self.checkpoint["hyper_parameters"])

    @cached_property
    def data_settings(self) -> dict[str, Any]:
        """The settings of the data that the model was trained on; empty for data of your own."""
        return _public(self.checkpoint.get("datamodule_hyper_parameters") or {})

    def digest(self) -> str:
        """Return what tells the checkpoint's file from any other, its SHA-256."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def model(self) -> nn.Module:
        """Build the plain model and load its weights, on the CPU and in eval mode.

        Raises:
            ValueError: if the weights do not fit the settings.
        """
        builder = MODELS[self.kind]
        model = builder(**{name: self.settings[name] for name in options_of(builder)})
        prefix = "model."
        weights = self.checkpoint["state_dict"].items()
        try:
            model.load_state_dict({key.removeprefix(prefix): value for key, value in weights if key.startswith(prefix)})
        except RuntimeError as error:
            raise ValueError(f"{self.path} is damaged: its weights do not fit its settings ({error})") from error
        return model.eval()

    def vae(self) -> VAE:
        """Return the model, which has to be a VAE.

        Raises:
            ValueError: if it is not, or as `model`.
        """
        self._check_kind("vae")
        model = self.model()
        assert isinstance(model, VAE)
        return model

    def density(self) -> FlowDensity:
        """Return the model, which has to be a density of vectors.

        Raises:
            ValueError: if it is not, or as `model`.
        """
        self._check_kind("density")
        model = self.model()
        assert isinstance(model, FlowDensity)
        return model

    def data(self, **changes: Any) -> BinarizedImages | ToyVectors:
        """Return the data that the model was trained on, with other settings where given.

        Raises:
            ValueError: if it was trained on data of your own, or for a setting that the data refuse.
        """
        if not self.data_settings:
            raise ValueError(
                f"run {self.folder.path} was not trained on {DATA[self.kind].__name__}: its data are unknown here"
            )
        return DATA[self.kind](**self.data_settings | changes)

    def images(self, **changes: Any) -> BinarizedImages:
        """Return the images that a VAE was trained on, with other settings where given.

        Raises:
            ValueError: as `data`, or if the model is no VAE.
        """
        self._check_kind("vae")
        data = self.data(**changes)
        assert isinstance(data, BinarizedImages)
        return data

    def vectors(self) -> ToyVectors:
        """Return the vectors that a density was trained on.

        Raises:
            ValueError: as `data`, or if the model is no density.
        """
        self._check_kind("density")
        data = self.data()
        assert isinstance(data, ToyVectors)
        return data

    def _check_kind(self, kind: str) -> None:
        if self.kind != kind:
            names = {"vae": "a VAE", "density": "a density of vectors"}
            raise ValueError(f"{self.path} holds {names[self.kind]}; expected {names[kind]}")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of one of our trainings; nothing that it holds is run.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if the file is something else or damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        assert {"hyper_parameters", "global_step", "epoch", "state_dict", "task"} <= checkpoint.keys()
        assert checkpoint["model"] in MODELS
    except Exception as error:  # whatever the unpickler stumbles over
        raise ValueError(f"{path} is not a checkpoint of nfvae, or is damaged ({type(error).__name__})") from error
    return checkpoint


def _public(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if not name.startswith("_")}
