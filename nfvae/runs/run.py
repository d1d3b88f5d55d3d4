"""A trained run: its checkpoint, and the plain model and data built from it."""

import os
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from nfvae.data import DataModule
from nfvae.data.module import DIGEST
from nfvae.flows import FlowDensity
from nfvae.models import VAE, DataSpec
from nfvae.registry import check_sizes, check_trusted, options_of
from nfvae.runs.checkpoint import MODELS, load_weights, model_digest, read_checkpoint, taken_from, with_later_settings
from nfvae.runs.folder import RunFolder
from nfvae.runs.names import DataNames
from nfvae.runs.trust import trained_with


class _Kind(NamedTuple):
    """The name of a kind of model, and the commands for a run of that kind."""

    words: str
    remedy: str


_KINDS = {
    "vae": _Kind("a VAE", "nfvae sample {run} draws its images, nfvae evaluate {run} estimates its likelihood"),
    "density": _Kind(
        "a density of vectors",
        "nfvae sample {run}, score, evaluate and plot density use it, and in Python nfvae.Run('{run}').density()() is "
        "a distribution with sample and log_prob",
    ),
}


class Run:
    """A trained run, read from its checkpoint.

    Args:
        path: folder of the run, or a checkpoint file, also one that Lightning saved.
        trust: your own classes, as "package.module:Class", that the checkpoint may name. Classes of `trusting`, of the
            environment variable NFVAE_TRUST, and those you trained the run with in this folder are trusted anyway.
        last: whether to read a folder's last checkpoint instead of its best.

    Attributes:
        task: task of the training, a name in `nfvae.training.TASKS`.
        kind: kind of the plain model, a name in `MODELS`.
        data_digest: SHA-256 of the training images; None if the checkpoint does not hold it.

    Raises:
        FileNotFoundError: if the run does not exist or has no checkpoint yet.
        ValueError: if the checkpoint is damaged or not one of nfvae, or names a class that is not trusted.
    """

    def __init__(self, path: Path | str, trust: Collection[str] = (), last: bool = False) -> None:
        path = _as_path(path)
        is_checkpoint = path.suffix == ".ckpt" or path.is_file()
        self.folder = RunFolder.of_checkpoint(path) if is_checkpoint else RunFolder(path)
        self.path = path if is_checkpoint else self.folder.checkpoint(last)
        self.checkpoint = read_checkpoint(self.path)
        self.task, self.kind = str(self.checkpoint["task"]), str(self.checkpoint["model"])
        self.data_digest: str | None = self._training_data.get(DIGEST)
        check_trusted([self.settings, self.data_settings, self.task], self.path, {*trust, *trained_with(self.folder)})

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The model's hyperparameters."""
        return with_later_settings(self.kind, _public(self.checkpoint["hyper_parameters"]))

    @cached_property
    def data_settings(self) -> dict[str, Any]:
        """The settings of the training data; empty for your own data."""
        return _public(self._training_data)

    @cached_property
    def names(self) -> DataNames:
        """The names of the classes and columns of the training data."""
        return DataNames.of(self._training_data, self.spec)

    @property
    def _training_data(self) -> dict[str, Any]:
        return dict(self.checkpoint.get("datamodule_hyper_parameters") or {})

    @cached_property
    def spec(self) -> DataSpec:
        """The form of the data that the model describes."""
        with taken_from(self.path, "shape of data"):
            check_sizes(**{f"shape[{index}]": side for index, side in enumerate(self.settings["shape"])})
            return DataSpec.of(self.settings)

    @property
    def shown(self) -> Path:
        """Path that identifies the run in tables and commands: its folder, or a checkpoint other than the best."""
        return self.folder.path if self.path.stem == self.folder.best.stem else self.path

    def digest(self) -> str:
        """Return a fingerprint of the trained model: the SHA-256 of its settings and weights."""
        return model_digest(self.checkpoint)

    def state(self) -> dict[str, Tensor]:
        """Return the state of the trained module by name; raises ValueError if it was exported without weights."""
        if not self.checkpoint["state_dict"]:
            raise ValueError(f"{self.path} was exported without its weights")
        return dict(self.checkpoint["state_dict"])

    def weights(self) -> dict[str, Tensor]:
        """Return the weights of the plain model by name; raises the errors of `state`."""
        prefix = "model."
        return {key.removeprefix(prefix): value for key, value in self.state().items() if key.startswith(prefix)}

    def model(self, **changes: Any) -> nn.Module:
        """Build the plain model and load its weights, on the CPU and in eval mode.

        Args:
            changes: settings to change that leave the weights as they are, such as `missing`.

        Raises:
            ValueError: if the weights do not fit the settings, or were left out of an exported run.
        """
        weights = self.weights()
        builder = MODELS[self.kind]
        with taken_from(self.path, "model"):
            settings = self.settings | changes
            model = builder(**{name: settings[name] for name in options_of(builder)})
        load_weights(model, weights, self.path)
        return model.eval()

    def vae(self, **changes: Any) -> VAE:
        """Return the model as `model` does, which must be a VAE; raises ValueError for another kind."""
        self.check_kind("vae")
        model = self.model(**changes)
        assert isinstance(model, VAE)
        return model

    def density(self) -> FlowDensity:
        """Return the model, which must be a density of vectors; raises ValueError for another kind."""
        self.check_kind("density")
        model = self.model()
        assert isinstance(model, FlowDensity)
        return model

    def data(self, **changes: Any) -> DataModule:
        """Return the training data, with some settings changed.

        Raises:
            ValueError: if the model was trained on your own data, or for a setting that the data refuse.
        """
        if not self.data_settings:
            raise ValueError(
                f"run {self.folder.path} was not trained on {DataModule.__name__}: its data are unknown here"
            )
        with taken_from(self.path, "data"):
            return DataModule(**self.data_settings | changes)

    def check_spec(self, spec: DataSpec, dataset: str) -> None:
        """Refuse data whose shape or levels differ from those of the training data.

        Raises:
            ValueError: if they differ.
        """
        if spec != self.spec:
            raise ValueError(
                f"run {self.folder.path} models {self.spec.noun} of shape {self.spec}; those of {dataset} have {spec}"
            )

    def check_kind(self, kind: str) -> None:
        """Refuse a model of another kind than the one needed.

        Raises:
            ValueError: if the kind differs.
        """
        if self.kind != kind:
            held, remedy = _KINDS[self.kind]
            instead = remedy.format(run=self.folder.path)
            raise ValueError(f"{self.path} holds {held}; expected {_KINDS[kind].words}: {instead}")


def _as_path(path: Path | str) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"a run is given as its folder or a checkpoint's path; got {path!r:.80}")
    return Path(path)


def _public(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if not name.startswith("_")}
