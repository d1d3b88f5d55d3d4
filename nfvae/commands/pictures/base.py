"""The base class of pictures, and their input."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from torch import Tensor

from nfvae.runs import EvaluationSettings, Run, experiment_names, unread_result
from nfvae.runs.folder import data_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Images = int | Sequence[int]
_LONGEST_NAME = 40  # characters of an experiment's name in a picture


class Given(NamedTuple):
    """The input of a picture; see `draw`."""

    runs: Sequence[Run]
    images: Images = 8
    evaluations: Mapping[str, EvaluationSettings] = {}
    root: str | None = None
    teacher: Path | str | None = None
    projection: str = "pca"

    def only(self) -> Run:
        """Return the run of a picture that takes exactly one."""
        if len(self.runs) != 1:
            raise ValueError(f"this picture takes one run; got {len(self.runs)}")
        return self.runs[0]

    def named(self) -> dict[str, Run]:
        """Return the distinct runs by the names of `names_of`."""
        if not self.runs:
            raise ValueError("this picture takes runs; got none")
        runs = [*{run.path.resolve(): run for run in self.runs}.values()]
        return dict(zip(names_of(runs), runs, strict=True))

    def split(self, run: Run) -> Tensor:
        """Return the test data of a run, rows with shape (N, P + C), from `root` if given."""
        data = run.data(**({} if self.root is None else {"root": self.root}))
        run.check_spec(data.spec, data.hparams["dataset"])
        return data.rows("test").float()

    def chosen(self, run: Run) -> Tensor:
        """Return the chosen test images of a run."""
        return chosen_images(self.split(run), self.images)


class Picture(ABC):
    """A picture of trained runs.

    Attributes:
        help: one line for the help of `nfvae plot`.
        reads_images: whether it reads the images of the runs' data.
    """

    help: ClassVar[str]
    reads_images: ClassVar[bool] = False

    @abstractmethod
    def draw(self, given: Given) -> "Figure":
        """Draw the picture.

        Raises:
            ValueError: for runs or images that do not suit the picture.
            FileNotFoundError: if an evaluation or the given teacher does not exist.
        """


def names_of(runs: Sequence[Run]) -> list[str]:
    """Return distinct names for runs: those of their experiments, or else the shortest path ends that differ."""
    names = experiment_names([unread_result(run) for run in runs])
    if names and all(len(name) <= _LONGEST_NAME for name in names):
        return names
    paths = [run.folder.path.resolve().parts for run in runs]
    ends = ["" if run.path.stem == run.folder.best.stem else f" ({run.path.stem})" for run in runs]
    for count in range(1, max(map(len, paths)) + 1):
        names = ["/".join(path[-count:]) + end for path, end in zip(paths, ends, strict=True)]
        if len({*names}) == len(names):
            break
    return names


def chosen_images(images: Tensor, chosen: Images) -> Tensor:
    """Return the images at the chosen indices, or the first ones."""
    indices = list(range(min(chosen, len(images)))) if isinstance(chosen, int) else list(chosen)
    if not all(0 <= index < len(images) for index in indices):
        raise ValueError(f"test images are 0 ... {len(images) - 1}; got {indices}")
    return images[indices]


def heading(run: Run, what: str) -> str:
    """Return the title of a picture of a run."""
    return f"{run.folder.name}: {what} ({data_name(run.data_settings) if run.data_settings else 'your own data'})"
