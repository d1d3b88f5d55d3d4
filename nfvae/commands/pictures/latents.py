"""Pictures of densities of latents."""

from typing import TYPE_CHECKING

import torch
from typing_extensions import override

from nfvae.commands.pictures.base import Given, Picture, chosen_images, heading
from nfvae.plots import check_plane, layers_figure, posterior_contours, posterior_misfit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
