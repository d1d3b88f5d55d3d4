"""The base class of likelihood estimators for evaluations."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from torch import Tensor

from nfvae.models import DataSpec
from nfvae.runs.tables import Column

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Summary = dict[str, Any]
Values = dict[str, tuple[str, int | None]]


class Argument(NamedTuple):
    """An argument --NAME of the commands that use an estimator.

    Attributes:
        help: help text.
        type: type of the value.
        default: default value.
        choices: names that a shell completes.
    """

    help: str
    type: Callable[[str], Any] = str
    default: Any = None
    choices: Sequence[str] = ()


class Images(NamedTuple):
    """The images of an evaluation.

    Attributes:
        x: binary images with shape (N, P).
        z: latents from which the model simulated them, with shape (N, D); None for images of the data.
    """

    x: Tensor
    z: Tensor | None = None


@dataclass
class Estimator(ABC):
    """A likelihood estimator with its settings, for evaluations, comparisons and pictures.

    A subclass is a dataclass. Its fields are its settings; each has a default, and values out of range are refused.

    Attributes:
        name: name in `ESTIMATORS`, in file names and in tables.
        kinds: kinds of models that it evaluates.
        commands: commands of nfvae that offer it; the first one makes the evaluation. With `compare`, its summary has
            an `nll`; with `score`, its estimates have `log_likelihood` and `standard_error`.
        help: one line for the help of these commands.
        arguments: arguments of these commands for it, by name; see `of`.
        result: class of an estimate, a NamedTuple of tensors with a value or a row for each image, in nats.
        finite: fields of an estimate that must be finite.
        images_per_part: images whose estimates are written to disk together.
        usual_limit: default number of images; None for all.
        usual_split: default split.
        simulates: whether the model simulates the images.
        of_settings: table columns for its settings.
        of_results: table columns for the numbers of its summary that no other estimator has.
    """

    name: ClassVar[str]
    kinds: ClassVar[Sequence[str]] = ("vae",)
    commands: ClassVar[Sequence[str]] = ("evaluate",)
    help: ClassVar[str]
    arguments: ClassVar[Mapping[str, Argument]] = {}
    result: ClassVar[type[Any]]
    finite: ClassVar[Sequence[str]] = ("log_likelihood",)
    images_per_part: ClassVar[int] = 100
    usual_limit: ClassVar[int | None] = None
    usual_split: ClassVar[str] = "test"
    simulates: ClassVar[bool] = False
    of_settings: ClassVar[Sequence[Column]] = ()
    of_results: ClassVar[Sequence[Column]] = ()

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the default of each setting by name."""
        return {field.name: field.default for field in dataclasses.fields(cls)}

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Build the estimator from the arguments of a command.

        Args:
            given: values of `arguments` by name, None if not given; other arguments are ignored.

        Raises:
            ValueError: for a value out of range.
        """
        return cls(**{name: given[name] for name in cls.defaults() if given.get(name) is not None})

    def settings(self) -> dict[str, Any]:
        """Return the settings by name."""
        return {name: getattr(self, name) for name in self.defaults()}

    def words(self) -> list[str]:
        """Return the command-line arguments for the settings that are not the default."""
        return [f"--{name} {value}" for name, value in self.settings().items() if value != self.defaults()[name]]

    @abstractmethod
    def size(self) -> str:
        """Return the size of the estimate for file names, such as `5000`."""

    def qualifiers(self) -> list[str]:
        """Return the other parts of file names; by default each text setting that is not the default."""
        texts = {name: value for name, value in self.settings().items() if isinstance(value, str)}
        return [value for name, value in texts.items() if value != self.defaults()[name]]

    @abstractmethod
    def described(self) -> str:
        """Describe the estimate of an image, such as `5,000 importance samples (mixture proposal) an image`."""

    def images(self, build: Callable[[], Any], read: Callable[[], Tensor], limit: int | None, seed: int) -> Images:
        """Return the images to evaluate.

        Args:
            build: function that builds the model.
            read: function that reads the binary images of the split, with shape (N, P).
            limit: number of images; None for all.
            seed: random seed of simulated images.
        """
        return Images(read()[:limit])

    @abstractmethod
    def estimate(self, model: Any, images: Images, indices: Tensor, seed: int) -> Any:
        """Return the estimates of B images.

        Args:
            model: the model, in eval mode.
            images: the B images, floating point.
            indices: index of each image in the whole evaluation, with shape (B,).
            seed: random seed.
        """

    @abstractmethod
    def values(self) -> Values:
        """Return the columns of the file of values: the field of each, and the index in a field with several values."""

    @abstractmethod
    def summary(self, estimate: Any, spec: DataSpec) -> Summary:
        """Summarize the estimates of N images, in nats per image; None for an unknown number."""

    @abstractmethod
    def figure(self, model: Any, estimate: Any, images: Tensor, spec: DataSpec, title: str, seed: int) -> "Figure":
        """Draw the estimates; only the fields in `values` are available."""

    @classmethod
    @abstractmethod
    def verdict(cls, summaries: Sequence[Summary]) -> str:
        """Return a sentence on how accurate the numbers of several runs are."""

    @classmethod
    def overview(cls, summaries: Mapping[str, Summary], title: str) -> "Figure":
        """Draw the evaluations of several runs in one picture, given their summaries by run name.

        Raises:
            ValueError: if the estimator has no such picture.
        """
        raise ValueError(f"the estimator {cls.name} has no picture of several runs")
