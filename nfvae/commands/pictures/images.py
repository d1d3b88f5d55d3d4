"""Pictures of images: samples, reconstructions, traversals, interpolations."""

from typing import TYPE_CHECKING

import torch
from typing_extensions import override

from nfvae.commands.pictures.base import Given, Picture, chosen_images, heading
from nfvae.plots import image_grid, interpolation_grid, latent_traversal, reconstruction_grid
from nfvae.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 8


class Samples(Picture):
    """Images from the model."""

    help = "images drawn from the model"

    @override
    def draw(self, given: Given) -> "Figure":
        return sample_figure(given.only(), 64)


class Reconstructions(Picture):
    """Test images and their reconstructions."""

    help = "test images and their reconstructions"
    reads_images = True

    @override
    def draw(self, given: Given) -> "Figure":
        run = given.only()
        model, x = run.vae(), given.chosen(run)
        columns = next(count for count in range(_COLUMNS, 0, -1) if len(x) % count == 0)
        return reconstruction_grid(x, model.reconstruct(x), run.spec.shape, columns, heading(run, "test images"))


class Traversal(Picture):
    """The latents that vary most, moved one at a time."""

    help = "decoded images while one latent at a time moves"
    reads_images = True

    @override
    @torch.no_grad()
    def draw(self, given: Given) -> "Figure":
        run = given.only()
        model, x, images = run.vae(), given.split(run), given.images
        z = model.posterior(x[:500]).rsample(torch.Size([8]))
        latents = z.mean(0).var(0).argsort(descending=True)[:8].tolist()
        first = images[0] if not isinstance(images, int) else 0
        start = model.posterior(chosen_images(x, [first])).rsample()[0]
        title = heading(run, f"test image {first}, one latent moved")
        return latent_traversal(model, start, latents, run.spec.shape, title=title)


class Interpolation(Picture):
    """Decoded images between the latents of pairs of test images."""

    help = "decoded images between pairs of test images"
    reads_images = True

    @override
    @torch.no_grad()
    def draw(self, given: Given) -> "Figure":
        run = given.only()
        x = given.chosen(run)
        if len(x) % 2:
            raise ValueError(f"an interpolation goes between pairs of images; got {len(x)}")
        return interpolation_grid(
            run.vae(), x[::2], x[1::2], run.spec.shape, title=heading(run, "from one test image to another")
        )


def sample_figure(run: Run, count: int, temperature: float = 1.0) -> "Figure":
    """Draw images from the model of a run."""
    what = "pixel probabilities of samples" + ("" if temperature == 1 else f" at temperature {temperature:g}")
    return image_grid(run.vae().sample(count, temperature), run.spec.shape, min(_COLUMNS, count), heading(run, what))
