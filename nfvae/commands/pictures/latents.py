"""Pictures of densities of latents."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.commands.pictures.base import Given, Picture, chosen_images, heading
from nfvae.plots import (
    check_plane,
    latents_figure,
    layers_figure,
    posterior_contours,
    posterior_misfit,
    projected,
)
from nfvae.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_POINTS, _SAMPLES = 2_000, 20
_PROJECTED = {"pca": "principal component", "tsne": "t-SNE"}
_CANDIDATES, _CHOSEN = 100, 6  # number of test images to choose from, and number to choose


class Posteriors(Picture):
    """q(z|x) against the exact posterior.

    By default for the six of the first hundred test images that the first run fits worst.
    """

    help = "q(z|x) over the exact posterior, for models with two latents"
    reads_images = True

    @override
    def draw(self, given: Given) -> "Figure":
        models = {name: run.vae() for name, run in given.named().items()}
        check_plane(models)
        first, images = given.runs[0], given.images
        x = chosen_images(given.split(first), _CANDIDATES if isinstance(images, int) else images)
        if isinstance(images, int):
            images = posterior_misfit(next(iter(models.values())), x).argsort(descending=True)[:_CHOSEN].tolist()
            x = x[images]
        return posterior_contours(models, x, first.spec.shape, [f"test image {index}" for index in images])


class Latents(Picture):
    """Posterior means of test data, in the colors of their labels."""

    help = "posterior means of up to 2,000 test data, colored by label where the data have labels"
    reads_images = True

    @override
    @torch.no_grad()
    def draw(self, given: Given) -> "Figure":
        run = given.only()
        rows = given.split(run)[:_MOST_POINTS]
        means = run.vae().posterior(rows).rsample(torch.Size([_SAMPLES])).mean(0)
        axes = "$z_1$", "$z_2$"
        if means.shape[1] != 2:
            if means.shape[1] < 2:
                raise ValueError("this picture needs at least two latents")
            means = projected(means, given.projection)
            axes = tuple(f"{_PROJECTED[given.projection]} {place}" for place in (1, 2))  # type: ignore[assignment]
        labels, names = _labels(run, given.root)
        labels = None if labels is None else labels[: len(means)]
        return latents_figure(means, labels, names, axes, heading(run, "posterior means of test data"))


def _labels(run: Run, root: str | None) -> tuple[Tensor | None, list[str]]:
    """Return the classes of the test data and their names, even if the model was trained without; None if unknown."""
    if run.data_settings.get("condition"):
        return None, []
    changes = {"labels": run.data_settings.get("labels") or True} | ({} if root is None else {"root": root})
    try:
        data = run.data(**changes)
        return data.rows("test")[:, run.spec.size :].argmax(1), data.source.classes
    except ValueError:  # the data have no labels
        return None, []


class Layers(Picture):
    """The density after each layer: of a run on vectors, or of an image's posterior with two latents."""

    help = "density after each layer of a flow: a density, or a posterior with two latents"
    reads_images = True

    @override
    @torch.no_grad()
    def draw(self, given: Given) -> "Figure":
        run = given.only()
        if run.kind == "density":
            return layers_figure(run.density()(), title=heading(run, "density after each layer"))
        posterior = run.vae().posterior(given.chosen(run)[0])
        first = 0 if isinstance(given.images, int) else given.images[0]
        return layers_figure(posterior, title=heading(run, f"q(z|x) of test image {first} after each layer"))
