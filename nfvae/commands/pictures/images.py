"""Pictures of data of a VAE: samples, reconstructions, traversals, interpolations."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.commands.pictures.base import Given, Picture, chosen_images, heading
from nfvae.commands.sampling import COLUMNS, draw_samples, usual_values
from nfvae.plots import (
    image_grid,
    interpolation_grid,
    latent_traversal,
    marginals_figure,
    reconstruction_grid,
    scatter_figure,
)
from nfvae.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_VECTORS, _MOST_CLASSES = 2_000, 20
_NOUNS = {"mean": "means", "sample": "draws", "mode": "modes"}


class Samples(Picture):
    """Images or vectors from the model; of labeled data, some of each class."""

    help = "images or vectors drawn from the model, class by class if there are labels"

    @override
    def draw(self, given: Given) -> "Figure":
        run = given.only()
        return sample_figure(run, COLUMNS * min(len(run.names.classes) or COLUMNS, _MOST_CLASSES))


class Reconstructions(Picture):
    """Test images or vectors and their reconstructions."""

    help = "test images or vectors and their reconstructions"
    reads_images = True

    @override
    def draw(self, given: Given) -> "Figure":
        run = given.only()
        if len(run.spec.shape) == 1:
            rows, title = given.split(run)[:_MOST_VECTORS], heading(run, "test vectors and their reconstructions")
            decoded = run.vae().reconstruct(rows)
            return scatter_figure(rows, decoded, run.names.columns, ("value", "reconstruction"), title)
        model, x = run.vae(), given.chosen(run)
        columns = next(count for count in range(COLUMNS, 0, -1) if len(x) % count == 0)
        values, title = x[:, : run.spec.size], heading(run, "test images")
        return reconstruction_grid(values, model.reconstruct(x), run.spec.shape, columns, title)


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
        condition = model.split(chosen_images(x, [first]))[1]
        return latent_traversal(
            model, start, latents, run.spec.shape, title=title, condition=None if condition is None else condition[0]
        )


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


def sample_figure(
    run: Run, count: int, temperature: float = 1.0, values: str | None = None, condition: Tensor | None = None
) -> "Figure":
    """Draw images or vectors from the model of a run.

    Args:
        run: the run.
        count: number of images; of vectors, as many as test data are drawn if that is more.
        temperature: factor of the prior's noise.
        values: means, samples or modes of p(x|z); None for the usual ones.
        condition: condition of all images; None for one row of images of each class, if there are classes.
    """
    values = values or usual_values(run)
    what = f"samples, {_NOUNS[values]} of p(x|z)" if run.kind == "vae" else "samples"
    classes = run.names.classes
    what += "" if temperature == 1 else f", temperature {temperature:g}"
    what += f", label {classes[int(condition.argmax())]}" if classes and condition is not None else ""
    title = heading(run, what)
    if len(run.spec.shape) == 1:
        has_data = bool(run.data_settings) and run.task != "energy"
        data = {"data": run.data().rows("test")[:, : run.spec.size]} if has_data else {}
        count = max([count, *map(len, data.values())])
        model = {"model": draw_samples(run, count, temperature, values, condition)}
        return marginals_figure(data | model, run.names.columns, title)
    images = draw_samples(run, count, temperature, values, condition)
    turns = range(-(-count // COLUMNS)) if classes and condition is None else ()
    rows = [classes[turn % len(classes)] for turn in turns]
    return image_grid(images, run.spec.shape, min(COLUMNS, count), title, rows)
