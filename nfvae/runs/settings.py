"""The settings of an evaluation, and the name of its files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nfvae.data import SPLITS
from nfvae.registry import check_choice, check_number, check_seed
from nfvae.runs.estimators import Estimator
from nfvae.runs.estimators.exact import Exact
from nfvae.runs.estimators.importance import Importance
from nfvae.runs.run import Run

_ARGUMENTS = {"dataset": "data.dataset", "binarization": "data.binarization"}  # names on the command line


class EvaluationSettings(NamedTuple):
    """The settings of an evaluation.

    The name of its files lists every setting that is not the default, so that no evaluation replaces another.

    Attributes:
        estimator: the estimator, with its own settings.
        split: `train`, `val` or `test`; None for the estimator's default.
        limit: number of images, taken from the start; None for the estimator's default, usually all.
        seed: random seed.
        dataset: data set; None for that of the training.
        binarization: binarization; None for that of the training.
        matmul_precision: precision of float32 matrix products, see `torch.set_float32_matmul_precision`.
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
        """The number of images that are evaluated; None for all."""
        return self.estimator.usual_limit if self.limit is None else self.limit

    def of_run(self, run: Run) -> "EvaluationSettings":
        """Return the settings for a run: a density is evaluated exactly, whatever the estimator of log p(x).

        Raises:
            ValueError: for an estimator that does not suit the run.
        """
        if run.kind in self.estimator.kinds:
            return self
        if run.kind in Exact.kinds and "compare" in self.estimator.commands:
            return self._replace(estimator=Exact())
        run.check_kind(self.estimator.kinds[0])
        return self

    def check(self) -> None:
        """Refuse settings that no evaluation can have.

        Raises:
            ValueError: for an unknown split, a limit below 1, a seed out of range, or a choice of images for an
                estimator that simulates its own.
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
            trained_on: settings of the training data.
            checkpoint: name of the checkpoint file, without its extension.
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
        estimator = [self.estimator.name, *filter(None, [self.estimator.size()]), *self.estimator.qualifiers()]
        return "-".join(["evaluation", self.images_of, *estimator, *unusual, *other])

    def path(self, run: Run) -> Path:
        """Return the path of this evaluation's summary for a run."""
        return run.folder.evaluation(self.of_run(run).name(run.data_settings, run.path.stem))

    def arguments(self) -> str:
        """Return the command-line arguments that request this evaluation."""
        estimator, default = self.estimator, self._field_defaults
        implied = estimator.name in (estimator.commands[0], default["estimator"].name)
        named = [] if implied else ["--estimator", estimator.name]
        given = {key: value for key, value in self._asdict().items() if key != "estimator" and value != default[key]}
        words = [f"--{_ARGUMENTS.get(key, key)} {value}" for key, value in given.items()]
        return " ".join([*named, *estimator.words(), *words])

    def command(self, run: Path) -> str:
        """Return the command that evaluates a run with these settings."""
        return f"nfvae {self.estimator.commands[0]} {run} {self.arguments()}".rstrip()


DEFAULT = EvaluationSettings()
