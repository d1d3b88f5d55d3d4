"""What `nfvae plot` can draw of trained runs, by name."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from nfvae.flows import Bijection, FlowDistribution
from nfvae.flows.planar import Planar
from nfvae.flows.radial import Radial
from nfvae.plots import (
    check_plane,
    deformation_figure,
    density_figure,
    density_gallery,
    gain_bars,
    image_grid,
    interpolation_grid,
    latent_traversal,
    layers_figure,
    learning_curves,
    posterior_contours,
    posterior_misfit,
    reconstruction_grid,
    uniform_figure,
)
from nfvae.registry import check_choice
from nfvae.runs import EvaluationSettings, Run, density_table
from nfvae.runs.comparison import check_same
from nfvae.runs.estimators import Estimator
from nfvae.runs.estimators.annealed import Annealed
from nfvae.runs.estimators.gap import Gap
from nfvae.runs.estimators.importance import Importance
from nfvae.runs.results import read_summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 8
_CANDIDATES, _CHOSEN = 100, 6  # test images among which posteriors are chosen, and how many are
Images = int | Sequence[int]


class Given(NamedTuple):
    """What a picture is drawn of; see `draw`."""

    runs: Sequence[Run]
    images: Images = 8
    evaluations: Mapping[str, EvaluationSettings] = {}
    root: str | None = None
    teacher: Path | str | None = None

    def only(self) -> Run:
        """Return the one run of a picture that takes one."""
        if len(self.runs) != 1:
            raise ValueError(f"this picture takes one run; got {len(self.runs)}")
        return self.runs[0]

    def named(self) -> dict[str, Run]:
        """Return the runs, each once, by the last parts of their paths that tell them apart."""
        if not self.runs:
            raise ValueError("this picture takes runs; got none")
        runs = [*{run.path.resolve(): run for run in self.runs}.values()]
        paths = [run.folder.path.resolve().parts for run in runs]
        ends = ["" if run.path.stem == run.folder.best.stem else f" ({run.path.stem})" for run in runs]
        for count in range(1, max(map(len, paths)) + 1):
            names = ["/".join(path[-count:]) + end for path, end in zip(paths, ends, strict=True)]
            if len({*names}) == len(names):
                break
        return dict(zip(names, runs, strict=True))

    def split(self, run: Run) -> Tensor:
        """Return the test images of a run with shape (N, P), from `root` where that is given."""
        data = run.images(**({} if self.root is None else {"root": self.root}))
        if data.spec != run.spec:
            model = f"run {run.folder.path} models {run.spec.noun} of shape {run.spec}"
            raise ValueError(f"{model}; its data have {data.spec}")
        return data.images("test").float()

    def chosen(self, run: Run) -> Tensor:
        """Return the test images of a run that were chosen."""
        return _chosen(self.split(run), self.images)


def draw(
    name: str,
    runs: Sequence[Run],
    images: Images = 8,
    evaluations: Mapping[str, EvaluationSettings] = {},
    root: str | None = None,
    teacher: Path | str | None = None,
) -> "Figure":
    """Draw a picture.

    Args:
        name: one of `PICTURES`.
        runs: what it is drawn of.
        images: which test images, or how many of the first ones, as far as there are.
        evaluations: which ones are read, by the name of the estimator.
        root: folder or file of the images, where they are not where they were in training.
        teacher: run of the teacher of a student, where it is not where it was in training.

    Raises:
        ValueError: for an unknown name, or runs or images that the picture cannot be drawn of.
        FileNotFoundError: if an evaluation or the given teacher is not there.
    """
    check_choice("picture", name, PICTURES)
    return PICTURES[name](Given(runs, images, evaluations, root, teacher))


def density_summary(run: Run, teacher: Path | str | None = None) -> str:
    """Lay out how well a density fits its test vectors and how fast it is sampled; of a student also its teacher."""
    return density_table(_densities(Given([run], teacher=teacher)), _vectors(run)).text()


def _chosen(images: Tensor, chosen: Images) -> Tensor:
    indices = list(range(min(chosen, len(images)))) if isinstance(chosen, int) else list(chosen)
    if not all(0 <= index < len(images) for index in indices):
        raise ValueError(f"test images are 0 ... {len(images) - 1}; got {indices}")
    return images[indices]


def _title(run: Run, what: str) -> str:
    return f"{run.folder.name}: {what} ({run.data_settings.get('dataset', 'data of your own')})"


def _of_images(summary: dict[str, Any]) -> str:
    return "{dataset}, {split} set, {images:,} images".format(**summary)


def _samples(given: Given) -> "Figure":
    return sample_figure(given.only(), 64)


def sample_figure(run: Run, count: int, temperature: float = 1.0) -> "Figure":
    """Draw images from the model of a run."""
    what = "pixel probabilities of samples" + ("" if temperature == 1 else f" at temperature {temperature:g}")
    return image_grid(run.vae().sample(count, temperature), run.spec, min(_COLUMNS, count), _title(run, what))


@torch.no_grad()
def _interpolation(given: Given) -> "Figure":
    """Pairs of test images, and what lies between their latents."""
    run = given.only()
    x = given.chosen(run)
    if len(x) % 2:
        raise ValueError(f"an interpolation goes between pairs of images; got {len(x)}")
    return interpolation_grid(run.vae(), x[::2], x[1::2], run.spec, title=_title(run, "from one test image to another"))


def _reconstructions(given: Given) -> "Figure":
    run = given.only()
    model, x = run.vae(), given.chosen(run)
    columns = next(count for count in range(_COLUMNS, 0, -1) if len(x) % count == 0)
    return reconstruction_grid(x, model.reconstruct(x), run.spec, columns, _title(run, "test images"))


@torch.no_grad()
def _traversal(given: Given) -> "Figure":
    """The latents that vary most, moved one at a time."""
    run = given.only()
    model, x, images = run.vae(), given.split(run), given.images
    z = model.posterior(x[:500]).rsample(torch.Size([8]))
    latents = z.mean(0).var(0).argsort(descending=True)[:8].tolist()
    first = images[0] if not isinstance(images, int) else 0
    start = model.posterior(_chosen(x, [first])).rsample()[0]
    title = _title(run, f"test image {first}, one latent moved")
    return latent_traversal(model, start, latents, run.spec, title=title)


def _learning(given: Given) -> "Figure":
    runs = given.named()
    histories = {name: [run.folder.history()] for name, run in runs.items()}
    known = {name for [history] in histories.values() for row in history for name in row}
    metric = next((metric for metric in ("val/elbo", "val/reverse_kl", "val/nll") if metric in known), None)
    if metric is None:
        raise ValueError(f"no history to draw: {', '.join(str(run.folder.metrics) for run in runs.values())}")
    for name, [history] in histories.items():
        if not any(metric in row for row in history):
            raise ValueError(f"run {runs[name].folder.path} has no {metric} in its history")
    digests: dict[str, str | None] = {}
    for run in runs.values():
        dataset = run.data_settings.get("dataset", "data of your own")
        digests[dataset] = digests.get(dataset) or run.data_digest  # an older checkpoint does not say it
        if run.data_digest and run.data_digest != digests[dataset]:
            raise ValueError(f"the runs were validated on different images of {dataset}: they cannot share a picture")
    datasets = list(digests)
    return learning_curves(histories, metric, ", ".join(datasets))


def _evaluations_of(kind: type[Estimator]) -> Callable[[Given], "Figure"]:
    """Return the picture of several runs that an estimator has."""

    def drawn(given: Given) -> "Figure":
        settings = given.evaluations[kind.name]
        return overview(kind, {name: read_summary(run, settings) for name, run in given.named().items()})

    return drawn


def overview(kind: type[Estimator], summaries: Mapping[str, dict[str, Any]]) -> "Figure":
    """Draw the evaluations of several runs by one estimator, given their summaries by the names of the runs.

    Raises:
        ValueError: for evaluations of different images.
    """
    check_same([*summaries.items()])
    return kind.overview(summaries, _of_images(next(iter(summaries.values()))))


def _gain(given: Given) -> "Figure":
    """What each run gains over the first one."""
    runs = given.named() if given.runs else {}
    if len(runs) < 2:
        raise ValueError("this picture takes a run to begin with, and others to set against it")
    evaluations = [given.evaluations[kind.name] for kind in (Importance, Annealed)]
    summaries = {name: [read_summary(run, settings) for settings in evaluations] for name, run in runs.items()}
    check_same([(name, summary) for name, both in summaries.items() for summary in both])
    baseline, *others = summaries
    parts = {name: _parts(*both) for name, both in summaries.items()}
    gains = {name: parts[baseline] - parts[name] for name in others}
    return gain_bars(gains, baseline, _of_images(summaries[baseline][0]))


def _parts(importance: dict[str, Any], annealed: dict[str, Any]) -> Tensor:
    """Return NLL, what the -ELBO is above it, and what importance sampling says that the NLL is above it."""
    nll = annealed["nll"]
    return torch.tensor([nll, -annealed["elbo"] - nll, importance["nll"] - nll])


def _posterior(given: Given) -> "Figure":
    """Of the first hundred test images the six that the first run fits worst, unless images are named."""
    models = {name: run.vae() for name, run in given.named().items()}
    check_plane(models)
    first, images = given.runs[0], given.images
    x = _chosen(given.split(first), _CANDIDATES if isinstance(images, int) else images)
    if isinstance(images, int):
        images = posterior_misfit(next(iter(models.values())), x).argsort(descending=True)[:_CHOSEN].tolist()
        x = x[images]
    return posterior_contours(models, x, first.spec, [f"test image {index}" for index in images])


@torch.no_grad()
def _layers(given: Given) -> "Figure":
    run = given.only()
    if run.kind == "density":
        return layers_figure(run.density()(), title=_title(run, "density after each layer"))
    posterior = run.vae().posterior(given.chosen(run)[0])
    first = 0 if isinstance(given.images, int) else given.images[0]
    return layers_figure(posterior, title=_title(run, f"q(z|x) of test image {first} after each layer"))


def _density(given: Given) -> "Figure":
    run = given.only()
    return density_figure(_vectors(run), _densities(given), title=_title(run, "density"))


def _uniform(given: Given) -> "Figure":
    run = given.only()
    return uniform_figure(_vectors(run), run.density()(), _title(run, "data made uniform by the density"))


def _gallery(given: Given) -> "Figure":
    """A row for each flow, a column for each data set."""
    densities: dict[str, dict[str, FlowDistribution]] = {}
    runs = given.named()
    data = {run.data_settings["dataset"]: _vectors(run) for run in runs.values()}
    for name, run in runs.items():
        dataset, flow = run.data_settings["dataset"], f"{run.settings['flow']}-{run.settings['depth']}"
        if (features := data[dataset].shape[1]) != 2:
            raise ValueError(f"a gallery shows densities of two numbers; {run.folder.path} has one of {features}")
        row = flow if dataset not in densities.get(flow, {}) else name  # or a row of its own
        densities.setdefault(row, {})[dataset] = run.density()()
    return density_gallery(densities, data)


def _vectors(run: Run) -> Tensor:
    data = run.vectors()
    data.setup()
    assert data.splits is not None
    return data.splits.test


def _densities(given: Given) -> dict[str, FlowDistribution]:
    """Return the density of a run by what it is; of a student also its teacher's, if that can be found."""
    run = given.only()
    model, trained_by = run.density(), run.settings.get("teacher")
    if not trained_by:
        if given.teacher is not None:
            raise ValueError(f"run {run.folder.path} is no student; --teacher names the teacher of one")
        return {"model": model()}
    try:
        teacher = Run(trained_by if given.teacher is None else given.teacher)
    except FileNotFoundError as error:
        if given.teacher is not None:
            raise
        print(f"drawn without the teacher: {error}; --teacher PATH names it", file=sys.stderr)
        return {"student": model()}
    if teacher.spec.shape != run.spec.shape:
        raise ValueError(
            f"the teacher {teacher.folder.path} has shape {list(teacher.spec.shape)}; "
            f"the student {run.folder.path} {list(run.spec.shape)}"
        )
    return {"teacher": teacher.density()(), "student": model()}


def _deformation(given: Given) -> "Figure":
    """What a planar and a radial layer do to a Gaussian cloud."""
    if given.runs:
        raise ValueError("this picture takes no run")
    direction, zero = torch.tensor([1.0, 1.0]), torch.zeros(())
    maps: dict[str, Bijection] = {
        f"planar, |u| = {size:g}": Planar.from_unconstrained(u=size * direction / 2**0.5, w=2 * direction, b=zero)
        for size in (0.5, 1, 2, 4)
    }
    beside = torch.tensor([0.5, 0.0])  # not the cloud's middle
    for beta in (-0.9, 1, 2, 4):
        maps[f"radial, β = {beta:g}"] = Radial(beside, torch.tensor(1.0), torch.tensor(1.0 + beta))
    return deformation_figure(maps, torch.randn(800, 2))


PICTURES: dict[str, Callable[[Given], "Figure"]] = {
    "samples": _samples,
    "reconstructions": _reconstructions,
    "traversal": _traversal,
    "interpolation": _interpolation,
    "learning": _learning,
    "k-curve": _evaluations_of(Importance),
    "gap": _evaluations_of(Gap),
    "gain": _gain,
    "posterior": _posterior,
    "layers": _layers,
    "density": _density,
    "uniform": _uniform,
    "gallery": _gallery,
    "deformation": _deformation,
}
