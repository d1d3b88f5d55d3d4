"""A trained run: its checkpoint, and the plain model and data that this gives."""

import os
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from nfvae.data import BinarizedImages, ToyVectors
from nfvae.data.images import DIGEST
from nfvae.flows import FlowDensity
from nfvae.models import VAE, DataSpec
from nfvae.registry import check_sizes, check_trusted, options_of
from nfvae.runs.checkpoint import MODELS, load_weights, model_digest, read_checkpoint, taken_from, with_later_settings
from nfvae.runs.folder import RunFolder
from nfvae.runs.trust import trained_with

DATA: dict[str, type[BinarizedImages] | type[ToyVectors]] = {"vae": BinarizedImages, "density": ToyVectors}
"""Data that each kind of model is trained on."""


class _Kind(NamedTuple):
    """How a kind of model is called, and what commands there are for a run of it."""

    words: str
    remedy: str


_KINDS = {
    "vae": _Kind("a VAE", "nfvae sample {run} draws its images, nfvae evaluate {run} estimates its likelihood"),
    "density": _Kind(
        "a density of vectors",
        "nfvae plot density {run} draws it, nfvae test {run} gives its NLL, nfvae plot gallery shows several, and in "
        "Python nfvae.Run('{run}').density()() is a distribution with sample and log_prob",
    ),
}


class Run:
    """A trained run: the checkpoint that stands for it, and what that says.

    Args:
        path: the run's folder, or a checkpoint file, one of Lightning's own included.
        trust: "package.module:Class" of your own that the checkpoint may name, besides those of `trusting`, of the
            environment variable NFVAE_TRUST, and those with which you trained the run in this folder.
        last: whether a folder stands for its last checkpoint instead of its best.

    Attributes:
        task: the name in `nfvae.training.TASKS` under which it was trained.
        kind: the name of the plain model in `MODELS`.
        data_digest: SHA-256 of the images that it was trained on; None where the checkpoint does not hold it.

    Raises:
        FileNotFoundError: if there is no such run, or no checkpoint in it yet.
        ValueError: if the checkpoint is something else, damaged, or names a class that is not trusted.
    """

    def __init__(self, path: Path | str, trust: Collection[str] = (), last: bool = False) -> None:
        path = _as_path(path)
        is_checkpoint = path.suffix == ".ckpt" or path.is_file()
        self.folder = RunFolder.of_checkpoint(path) if is_checkpoint else RunFolder(path)
        self.path = path if is_checkpoint else self.folder.checkpoint(last)
        self.checkpoint = read_checkpoint(self.path)
        self.task, self.kind = str(self.checkpoint["task"]), str(self.checkpoint["model"])
        self.data_digest: str | None = (self.checkpoint.get("datamodule_hyper_parameters") or {}).get(DIGEST)
        check_trusted([self.settings, self.data_settings, self.task], self.path, {*trust, *trained_with(self.folder)})

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The model's hyperparameters."""
        return with_later_settings(self.kind, _public(self.checkpoint["hyper_parameters"]))

    @cached_property
    def data_settings(self) -> dict[str, Any]:
        """The settings of the data that the model was trained on; empty for data of your own."""
        return _public(self.checkpoint.get("datamodule_hyper_parameters") or {})

    @cached_property
    def spec(self) -> DataSpec:
        """The form of the data that the model is one of."""
        with taken_from(self.path, "shape of data"):
            shape, levels = self.settings["shape"], self.settings.get("levels")
            check_sizes(**{f"shape[{index}]": side for index, side in enumerate(shape)})
            return DataSpec(tuple(shape), levels)

    def digest(self) -> str:
        """Return what tells the trained model from any other, the SHA-256 of its settings and weights."""
        return model_digest(self.checkpoint)

    def state(self) -> dict[str, Tensor]:
        """Return all that was trained, by its name in the training; raises ValueError if it was not exported."""
        if not self.checkpoint["state_dict"]:
            raise ValueError(f"{self.path} was exported without its weights")
        return dict(self.checkpoint["state_dict"])

    def weights(self) -> dict[str, Tensor]:
        """Return the weights of the plain model by name; raises what `state` does."""
        prefix = "model."
        return {key.removeprefix(prefix): value for key, value in self.state().items() if key.startswith(prefix)}

    def model(self) -> nn.Module:
        """Build the plain model and load its weights, on the CPU and in eval mode.

        Raises:
            ValueError: if the weights do not fit the settings, or were left out of an exported run.
        """
        weights = self.weights()
        builder = MODELS[self.kind]
        with taken_from(self.path, "model"):
            model = builder(**{name: self.settings[name] for name in options_of(builder)})
        load_weights(model, weights, self.path)
        return model.eval()

    def vae(self) -> VAE:
        """Return the model, which has to be a VAE; another one is refused by a ValueError."""
        self.check_kind("vae")
        model = self.model()
        assert isinstance(model, VAE)
        return model

    def density(self) -> FlowDensity:
        """Return the model, which has to be a density of vectors; another one is refused by a ValueError."""
        self.check_kind("density")
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
        with taken_from(self.path, "data"):
            return DATA[self.kind](**self.data_settings | changes)

    def images(self, **changes: Any) -> BinarizedImages:
        """Return the images that a VAE was trained on, with other settings where given; raises what they raise."""
        self.check_kind("vae")
        data = self.data(**changes)
        assert isinstance(data, BinarizedImages)
        return data

    def vectors(self) -> ToyVectors:
        """Return the vectors that a density was trained on; raises what `data` and `density` do."""
        self.check_kind("density")
        data = self.data()
        assert isinstance(data, ToyVectors)
        return data

    def check_spec(self, spec: DataSpec, dataset: str) -> None:
        """Refuse data of another form than those that the model was trained on.

        Raises:
            ValueError: for such data.
        """
        if spec != self.spec:
            raise ValueError(
                f"run {self.folder.path} models {self.spec.noun} of shape {self.spec}; those of {dataset} have {spec}"
            )

    def check_kind(self, kind: str) -> None:
        """Refuse a model of another kind than that which is needed.

        Raises:
            ValueError: for such a model.
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
