"""What `nfvae plot` can draw of trained runs, by name."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nfvae.commands.arguments import FEW_IMAGES
from nfvae.flows import Bijection, FlowDistribution
from nfvae.flows.planar import Planar
from nfvae.flows.radial import Radial
from nfvae.plots import (
    check_plane,
    deformation_figure,
    density_figure,
    density_gallery,
    gain_bars,
    gap_bars,
    image_grid,
    interpolation_grid,
    k_curves,
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
from nfvae.runs.folder import USUAL
from nfvae.runs.results import COMPARED, read_summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 8
_CANDIDATES, _CHOSEN = 100, 6  # test images among which posteriors are chosen, and how many are
Images = int | Sequence[int]


def draw(name: str, runs: Sequence[Run], images: Images = 8, evaluation: EvaluationSettings = USUAL) -> "Figure":
    """Draw a picture.

    Args:
        name: one of `PICTURES`.
        runs: what it is drawn of.
        images: which test images, or how many of the first ones, as far as there are.
        evaluation: which one is read.

    Raises:
        ValueError: for an unknown name, or runs or images that the picture cannot be drawn of.
        FileNotFoundError: if an evaluation is not there.
    """
    check_choice("picture", name, PICTURES)
    return PICTURES[name](runs, images, evaluation)


def density_summary(run: Run) -> str:
    """Lay out how well a density fits its test vectors and how fast it is sampled; of a student also its teacher."""
    return density_table(_densities(run), _vectors(run)).text()


def _only(runs: Sequence[Run]) -> Run:
    if len(runs) != 1:
        raise ValueError(f"this picture takes one run; got {len(runs)}")
    return runs[0]


def _some(runs: Sequence[Run]) -> Sequence[Run]:
    if not runs:
        raise ValueError("this picture takes runs; got none")
    return runs


def _test_images(run: Run, chosen: Images) -> Tensor:
    return _chosen(run.images().images("test").float(), chosen)


def _chosen(images: Tensor, chosen: Images) -> Tensor:
    indices = list(range(min(chosen, len(images)))) if isinstance(chosen, int) else list(chosen)
    if not all(0 <= index < len(images) for index in indices):
        raise ValueError(f"test images are 0 ... {len(images) - 1}; got {indices}")
    return images[indices]


def _title(run: Run, what: str) -> str:
    return f"{run.folder.path}: {what} ({run.data_settings.get('dataset', 'data of your own')})"


def _of_images(summary: dict[str, Any]) -> str:
    return "{dataset}, {split} set, {images:,} images".format(**summary)


def _samples(runs: Sequence[Run], images: Images, evaluation: EvaluationSettings) -> "Figure":
    run = _only(runs)
    return sample_figure(run, 64)


def sample_figure(run: Run, count: int, temperature: float = 1.0) -> "Figure":
    """Draw images from the model of a run."""
    what = "pixel probabilities of samples" + ("" if temperature == 1 else f" at temperature {temperature:g}")
    return image_grid(run.vae().sample(count, temperature), run.shape, min(_COLUMNS, count), _title(run, what))


@torch.no_grad()
def _interpolation(runs: Sequence[Run], images: Images, evaluation: EvaluationSettings) -> "Figure":
    """Pairs of test images, and what lies between their latents."""
    run = _only(runs)
    x = _test_images(run, images)
    if len(x) % 2:
        raise ValueError(f"an interpolation goes between pairs of images; got {len(x)}")
    return interpolation_grid(
        run.vae(), x[::2], x[1::2], run.shape, title=_title(run, "from one test image to another")
    )


def _reconstructions(runs: Sequence[Run], images: Images, evaluation: EvaluationSettings) -> "Figure":
    run = _only(runs)
    model, x = run.vae(), _test_images(run, images)
    columns = next(count for count in range(_COLUMNS, 0, -1) if len(x) % count == 0)
    return reconstruction_grid(x, model.reconstruct(x), run.shape, columns, _title(run, "test images"))


@torch.no_grad()
def _traversal(runs: Sequence[Run], images: Images, evaluation: EvaluationSettings) -> "Figure":
    """The latents that vary most, moved one at a time."""
    run = _only(runs)
    model, x = run.vae(), run.images().images("test").float()
    z = model.posterior(x[:500]).rsample(torch.Size([8]))
    latents = z.mean(0).var(0).argsort(descending=True)[:8].tolist()
    first = images[0] if not isinstance(images, int) else 0
    start = model.posterior(_chosen(x, [first])).rsample()[0]
    title = _title(run, f"test image {first}, one latent moved")
    return latent_traversal(model, start, latents, run.shape, title=title)


def _learning(runs: Sequence[Run], images: Images, evaluation: EvaluationSettings) -> "Figure":
    histories = {str(run.folder.path): [run.folder.history()] for run in _some(runs)}
    known = {name for [history] in histories.values() for row in history for name in row}
    metric = next((metric for metric in ("val/elbo", "val/reverse_kl", "val/nll") if metric in known), None)
    if metric is None:
        raise ValueError(f"no history to draw: {', '.join(str(run.folder.metrics) for run in runs)}")
    for name, [history] in histories.items():
        if not any(metric in row for row in history):
            raise ValueError(f"run {name} has no {metric} in its history")
    datasets = dict.fromkeys(run.data_settings.get("dataset", "data of your own") for run in runs)
    return learning_curves(histories, metric, ", ".join(datasets))


def _k_curve(runs: Sequence[Run], images: Images, evaluation: EvaluationSettings) -> "Figure":
    summaries = {str(run.folder.path): read_summary(run, evaluation) for run in _some(runs)}
    check_same([*summaries.items()])
    curves = {name: summary["k_curve"] for name, summary in summaries.items()}
    return k_curves(curves, _of_images(next(iter(summaries.values()))))


def _gap(runs: Sequence[Run], images: Images, evaluation: EvaluationSettings) -> "Figure":
    asked = evaluation._replace(estimator="gap", limit=FEW_IMAGES if evaluation.limit is None else evaluation.limit)
    summaries = {str(run.folder.path): read_summary(run, asked) for run in _some(runs)}
    check_same([*summaries.items()])
    return gap_bars(summaries, _of_images(next(iter(summaries.values()))))


def _gain(runs: Sequence[Run], images: Images, evaluation: EvaluationSettings) -> "Figure":
    """What each run gains over the first one."""
    asked = [evaluation._replace(estimator=estimator) for estimator in COMPARED]
    if len({run.folder.path for run in runs}) < 2:
        raise ValueError("this picture takes a run to begin with, and others to set against it")
    told = {str(run.folder.path): [read_summary(run, settings) for settings in asked] for run in runs}
    check_same([(name, summary) for name, both in told.items() for summary in both])
    baseline, *others = told
    parts = {name: _parts(*summaries) for name, summaries in told.items()}
    gains = {name: parts[baseline] - parts[name] for name in others}
    return gain_bars(gains, baseline, _of_images(told[baseline][0]))


def _parts(importance: dict[str, Any], annealed: dict[str, Any]) -> Tensor:
    """Return NLL, what the -ELBO is above it, and what importance sampling says that the NLL is above it."""
    nll = annealed["nll"]
    return torch.tensor([nll, -annealed["elbo"] - nll, importance["nll"] - nll])


def _posterior(runs: Sequence[Run], images: Images, evaluation: EvaluationSettings) -> "Figure":
    """Of the first hundred test images the six that the first run fits worst, unless images are named."""
    models = {run.folder.name: run.vae() for run in _some(runs)}
    check_plane(models)
    x = _test_images(runs[0], _CANDIDATES if isinstance(images, int) else images)
    if isinstance(images, int):
        images = posterior_misfit(next(iter(models.values())), x).argsort(descending=True)[:_CHOSEN].tolist()
        x = x[images]
    return posterior_contours(models, x, runs[0].shape, [f"test image {index}" for index in images])


@torch.no_grad()
def _layers(runs: Sequence[Run], images: Images, evaluation: EvaluationSettings) -> "Figure":
    run = _only(runs)
    if run.kind == "density":
        return layers_figure(run.density()(), title=_title(run, "density after each layer"))
    posterior = run.vae().posterior(_test_images(run, images)[0])
    first = 0 if isinstance(images, int) else images[0]
    return layers_figure(posterior, title=_title(run, f"q(z|x) of test image {first} after each layer"))


def _density(runs: Sequence[Run], images: Images, evaluation: EvaluationSettings) -> "Figure":
    run = _only(runs)
    return density_figure(_vectors(run), _densities(run), title=_title(run, "density"))


def _uniform(runs: Sequence[Run], images: Images, evaluation: EvaluationSettings) -> "Figure":
    run = _only(runs)
    name = "student" if "teacher" in run.settings else "model"
    return uniform_figure(_vectors(run), _densities(run)[name], _title(run, "data made uniform by the density"))


def _gallery(runs: Sequence[Run], images: Images, evaluation: EvaluationSettings) -> "Figure":
    """A row for each flow, a column for each data set."""
    densities: dict[str, dict[str, FlowDistribution]] = {}
    data = {run.data_settings["dataset"]: _vectors(run) for run in _some(runs)}
    for run in runs:
        dataset, flow = run.data_settings["dataset"], f"{run.settings['flow']}-{run.settings['depth']}"
        if (features := data[dataset].shape[1]) != 2:
            raise ValueError(f"a gallery shows densities of two numbers; {run.folder.path} has one of {features}")
        row = flow if dataset not in densities.get(flow, {}) else run.folder.path.name  # or a row of its own
        densities.setdefault(row, {})[dataset] = run.density()()
    return density_gallery(densities, data)


def _vectors(run: Run) -> Tensor:
    data = run.vectors()
    data.setup()
    assert data.splits is not None
    return data.splits.test


def _densities(run: Run) -> dict[str, FlowDistribution]:
    if not (teacher := run.settings.get("teacher")):
        return {"model": run.density()()}
    return {"teacher": Run(teacher).density()(), "student": run.density()()}


def _deformation(runs: Sequence[Run], images: Images, evaluation: EvaluationSettings) -> "Figure":
    """What a planar and a radial layer do to a Gaussian cloud."""
    if runs:
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


PICTURES: dict[str, Callable[[Sequence[Run], Images, EvaluationSettings], "Figure"]] = {
    "samples": _samples,
    "reconstructions": _reconstructions,
    "traversal": _traversal,
    "interpolation": _interpolation,
    "learning": _learning,
    "k-curve": _k_curve,
    "gap": _gap,
    "gain": _gain,
    "posterior": _posterior,
    "layers": _layers,
    "density": _density,
    "uniform": _uniform,
    "gallery": _gallery,
    "deformation": _deformation,
}
