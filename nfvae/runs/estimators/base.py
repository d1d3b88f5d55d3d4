"""What an estimator of a likelihood owes an evaluation."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from torch import Tensor

from nfvae.models import VAE, DataSpec
from nfvae.runs.tables import Column

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Summary = dict[str, Any]
Values = dict[str, tuple[str, int | None]]


class Argument(NamedTuple):
    """An argument --NAME of the commands that use an estimator.

    Attributes:
        help: what it sets.
        type: of the value.
        default: of the value.
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
        z: the latents that made them, with shape (N, D), where the model made them.
    """

    x: Tensor
    z: Tensor | None = None


@dataclass
class Estimator(ABC):
    """An estimator of the likelihood with its settings, as evaluations, comparisons and pictures use it.

    A subclass is a dataclass whose fields are its settings, each with a default and refused where it is out of range.

    Attributes:
        name: in `ESTIMATORS`, in the names of files and in tables.
        commands: the commands of nfvae that offer it, the first one makes the evaluation. With `compare`, its summary
            has an `nll`; with `score`, its estimates have `log_likelihood` and `standard_error`.
        help: a line for the help of these commands.
        arguments: what these commands take for it, by name; see `of`.
        result: the class of an estimate, a NamedTuple of tensors with a value or a row for each image, in nats.
        finite: fields of an estimate that have to be finite.
        images_per_part: images whose estimates are written to disk together.
        usual_limit: how many images are taken where no limit is set; None for all.
        usual_split: the split that is taken where none is set.
        simulates: whether the images are made by the model.
        of_settings: columns of tables for its settings.
        of_results: columns of tables for the numbers of its summary that no other estimator has.
    """

    name: ClassVar[str]
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
        """Return the estimator that the arguments of a command ask for.

        Args:
            given: values of `arguments` by name, of other arguments too; None for what was not given.

        Raises:
            ValueError: for a value out of range.
        """
        return cls(**{name: given[name] for name in cls.defaults() if given.get(name) is not None})

    def settings(self) -> dict[str, Any]:
        """Return the settings by name."""
        return {name: getattr(self, name) for name in self.defaults()}

    def words(self) -> list[str]:
        """Return the arguments of the command that set what is not the default."""
        return [f"--{name} {value}" for name, value in self.settings().items() if value != self.defaults()[name]]

    @abstractmethod
    def size(self) -> str:
        """Return the size of the estimate as the names of files have it, such as `5000`."""

    def qualifiers(self) -> list[str]:
        """Return what the names of files say beside the size; by default of every text that is not the default."""
        texts = {name: value for name, value in self.settings().items() if isinstance(value, str)}
        return [value for name, value in texts.items() if value != self.defaults()[name]]

    @abstractmethod
    def described(self) -> str:
        """Describe the estimate of an image, such as `5,000 importance samples (mixture proposal) an image`."""

    def images(self, build: Callable[[], VAE], read: Callable[[], Tensor], limit: int | None, seed: int) -> Images:
        """Return the images to evaluate.

        Args:
            build: builds the VAE.
            read: reads the binary images of the split, with shape (N, P).
            limit: how many; None for all.
            seed: of the noise, where images are simulated.
        """
        return Images(read()[:limit])

    @abstractmethod
    def estimate(self, model: VAE, images: Images, indices: Tensor, seed: int) -> Any:
        """Return the estimate of B images.

        Args:
            model: the VAE, in eval mode.
            images: these images, floating point.
            indices: index of each among all, with shape (B,).
            seed: of the noise.
        """

    @abstractmethod
    def values(self) -> Values:
        """Return the columns of the file of values: the field of each, and the index in it where it has several."""

    @abstractmethod
    def summary(self, estimate: Any, spec: DataSpec) -> Summary:
        """Sum up the estimates of N images of a form, in nats per image; None is what is not known."""

    @abstractmethod
    def figure(self, model: VAE, estimate: Any, images: Tensor, spec: DataSpec, title: str, seed: int) -> "Figure":
        """Draw the estimates, as far as `values` holds them."""

    @classmethod
    @abstractmethod
    def verdict(cls, summaries: Sequence[Summary]) -> str:
        """Say how far to believe the numbers of several runs."""

    @classmethod
    def overview(cls, summaries: Mapping[str, Summary], title: str) -> "Figure":
        """Draw the evaluations of several runs in one picture, given their summaries by the names of the runs.

        Raises:
            ValueError: for an estimator that has no such picture.
        """
        raise ValueError(f"the estimator {cls.name} has no picture of several runs")
