"""The settings of an evaluation, and the name of its files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nfvae.data import SPLITS
from nfvae.registry import check_choice, check_number, check_seed
from nfvae.runs.estimators import Estimator
from nfvae.runs.estimators.importance import Importance
from nfvae.runs.run import Run

_ARGUMENTS = {"dataset": "data.dataset", "binarization": "data.binarization"}  # of commands, for some settings


class EvaluationSettings(NamedTuple):
    """The settings of an evaluation.

    The name of its files lists every setting that is not the default, so that no evaluation replaces another.

    Attributes:
        estimator: with its own settings.
        split: `train`, `val` or `test`; None for the estimator's own.
        limit: how many images, the first ones; None for the estimator's own, mostly all.
        seed: of the noise.
        dataset: another one than in training.
        binarization: another one than in training.
        matmul_precision: of float32 matrix products, see `torch.set_float32_matmul_precision`.
    """

    estimator: Estimator = Importance()
    split: str | None = None
    limit: int | None = None
    seed: int = 0
    dataset: str | None = None
    binarization: str | None = None
    matmul_precision: str = "highest"

    @property
    def images_of(self) -> str:
        """The split that is evaluated, or `simulated`."""
        return self.split or self.estimator.usual_split

    @property
    def first_images(self) -> int | None:
        """How many images are evaluated; None for all."""
        return self.estimator.usual_limit if self.limit is None else self.limit

    def check(self) -> None:
        """Refuse settings that no evaluation can have.

        Raises:
            ValueError: for an unknown split, a limit below 1, a seed out of range, or images where the estimator
                simulates its own.
        """
        check_seed("seed", self.seed)
        if self.limit is not None:
            check_number("limit", self.limit, least=1)
        for name in ("split", "dataset", "binarization"):
            if self.estimator.simulates and getattr(self, name) is not None:
                raise ValueError(
                    f"the {self.estimator.name} simulates its images from the model: it takes no "
                    f"--{_ARGUMENTS.get(name, name)}"
                )
        if self.split is not None:
            check_choice("split", self.split, SPLITS)

    def name(self, trained_on: Mapping[str, Any], checkpoint: str) -> str:
        """Return the name of the evaluation's files.

        Args:
            trained_on: the settings of the training's data.
            checkpoint: the name of the checkpoint's file, without its ending.
        """
        usual = self._field_defaults | {key: trained_on.get(key) for key in ("dataset", "binarization")}
        parts = {
            "first_images": f"first{self.first_images}",
            "seed": f"seed{self.seed}",
            "dataset": str(self.dataset).replace(":", "."),
            "binarization": self.binarization,
            "matmul_precision": f"matmul_{self.matmul_precision}",
        }
        unusual = [str(part) for key, part in parts.items() if getattr(self, key) not in (None, usual.get(key))]
        other = [] if checkpoint == "best" else [checkpoint]
        estimator = [self.estimator.name, self.estimator.size(), *self.estimator.qualifiers()]
        return "-".join(["evaluation", self.images_of, *estimator, *unusual, *other])

    def path(self, run: Run) -> Path:
        """Return where the summary of this evaluation of a run lies."""
        return run.folder.evaluation(self.name(run.data_settings, run.path.stem))

    def arguments(self) -> str:
        """Return the arguments of the command that makes this evaluation."""
        estimator, default = self.estimator, self._field_defaults
        implied = estimator.name in (estimator.commands[0], default["estimator"].name)
        named = [] if implied else ["--estimator", estimator.name]
        given = {key: value for key, value in self._asdict().items() if key != "estimator" and value != default[key]}
        words = [f"--{_ARGUMENTS.get(key, key)} {value}" for key, value in given.items()]
        return " ".join([*named, *estimator.words(), *words])

    def command(self, run: Path) -> str:
        """Return the command that makes this evaluation of a run."""
        return f"nfvae {self.estimator.commands[0]} {run} {self.arguments()}".rstrip()


DEFAULT = EvaluationSettings()
