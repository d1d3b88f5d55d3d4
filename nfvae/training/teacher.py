"""The trained model that a student learns from."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from nfvae.flows import check_exact
from nfvae.runs import Run

_TRAINED_BY = {"vae": "configs/distill/teacher.yaml", "density": "configs/toy/teacher.yaml"}


class Teacher:
    """Load a trained model, frozen and in eval mode, with what is known about its data.

    It is not a torch module, so it is not part of the student's parameters or checkpoint.

    Args:
        path: folder of the teacher's run, or a checkpoint.
        kind: required kind of the model, `vae` or `density`.

    Raises:
        FileNotFoundError: if there is no such run or checkpoint.
        ValueError: if it is damaged, of another kind, or has a flow whose log-determinants are not exact.
    """

    def __init__(self, path: Path | str, kind: str) -> None:
        self.path = path
        try:
            run = Run(path)
        except FileNotFoundError as error:
            command = f"nfvae fit -c {_TRAINED_BY[kind]}"
            raise FileNotFoundError(
                f"{error}; a teacher is trained first, as {command}; --model.teacher names one that has moved"
            ) from error
        run.check_kind(kind)
        self.settings, self.dataset = run.settings, run.data_settings.get("dataset")
        self.digest, self.data_digest = run.digest(), run.data_digest
        self.model: Any = run.model().requires_grad_(False)
        check_exact(f"the density of the teacher {path}", self.model)

    def to(self, device: torch.device) -> None:
        """Move the model to a device."""
        self.model.to(device)

    def check_shape(self, shape: Collection[int]) -> None:
        """Refuse a student whose data have another shape.

        Raises:
            ValueError: if the shapes differ.
        """
        if list(self.settings["shape"]) != list(shape):
            raise ValueError(f"the teacher has shape {list(self.settings['shape'])}; the student {list(shape)}")

    def check_data(self, data: Any) -> None:
        """Refuse a data set whose name or images differ from the teacher's; your own data are accepted.

        Raises:
            ValueError: if the name or the images differ.
        """
        dataset = getattr(data, "hparams", {}).get("dataset")
        if dataset and self.dataset and dataset != self.dataset:
            raise ValueError(f"the teacher {self.path} was trained on {self.dataset}; the student's data are {dataset}")
        if self.data_digest and getattr(data, "digest", self.data_digest) != self.data_digest:
            raise ValueError(
                f"the teacher {self.path} was trained on other data, or another split of them, than the student's: "
                "images that it has seen would validate its student"
            )
