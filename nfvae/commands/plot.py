"""`nfvae sample` and `nfvae plot`: pictures of trained runs."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor

from nfvae.bijections import Bijection
from nfvae.commands.parser import Parser
from nfvae.comparison import history, read_summary
from nfvae.density import DensityEstimation
from nfvae.flows.planar import Planar
from nfvae.flows.radial import Radial
from nfvae.plots import (
    deformation_figure,
    image_grid,
    k_curves,
    latent_traversal,
    layers_figure,
    learning_curves,
    posterior_contours,
    reconstruction_grid,
)
from nfvae.runs import Run, load

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def sample_command(arguments: list[str]) -> None:
    """Draw images from a trained run into a PNG."""
    parser = Parser(prog="nfvae sample", description=sample_command.__doc__)
    parser.add_argument("run", type=Path, help="folder of the run, as runs/NAME")
    parser.add_argument("--count", type=int, default=64, help="number of images")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--output", type=Path, help="PNG to write; by default RUN/samples-COUNT.png")
    asked = parser.parse_args(arguments)
    if asked.count < 1:
        raise ValueError(f"--count must be at least 1; got {asked.count}")
    run = Run(asked.run)
    model, shape = run.module().model, run.data().image_shape
    pl.seed_everything(asked.seed, verbose=False)
    path = asked.output or asked.run / f"samples-{asked.count}.png"
    image_grid(model.sample(asked.count), shape, columns=min(8, asked.count)).savefig(path)
    print(path)


class Asked(NamedTuple):
    """What a picture is drawn of.

    Attributes:
        runs: folders of runs.
        images: which test images.
        samples: of the evaluation that is read.
    """

    runs: list[Path]
    images: list[int]
    samples: int

    @property
    def run(self) -> Run:
        """The only run.

        Raises:
            ValueError: if there are none or several.
        """
        if len(self.runs) != 1:
            raise ValueError(f"this picture takes one run; got {len(self.runs)}")
        return Run(self.runs[0])

    @property
    def several(self) -> list[Run]:
        """All runs.

        Raises:
            ValueError: if there are none.
        """
        if not self.runs:
            raise ValueError("this picture takes runs; got none")
        return [Run(folder) for folder in self.runs]


def plot_command(arguments: list[str]) -> None:
    """Draw a picture into a PNG.

    samples, reconstructions, traversal (the latents that vary most, moved one at a time), learning (the validation over
    epochs), k-curve (of evaluations), posterior (q(z|x) against the exact posterior, of runs with two latents), layers
    (the density after each layer, of a run on two-dimensional vectors, or of an image's posterior with two latents)
    and deformation (what a planar and a radial layer do to a Gaussian cloud; takes no run).
    """
    parser = Parser(prog="nfvae plot", description=plot_command.__doc__)
    parser.add_argument("kind", choices=PICTURES, metavar="KIND", help=", ".join(PICTURES))
    parser.add_argument("runs", type=Path, nargs="*", metavar="RUN", help="folder of a run, as runs/NAME")
    parser.add_argument("--images", type=int, nargs="+", default=list(range(8)), help="test images (default: 0 ... 7)")
    parser.add_argument("--samples", type=int, default=5000, help="of the evaluations of k-curve (default: 5000)")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn at random (default: 0)")
    parser.add_argument("--output", type=Path, help="PNG to write; by default KIND.png in the folder of the first run")
    asked = parser.parse_args(arguments)
    pl.seed_everything(asked.seed, verbose=False)
    figure = PICTURES[asked.kind](Asked(asked.runs, asked.images, asked.samples))
    path = asked.output or (asked.runs[0] if asked.runs else Path()) / f"{asked.kind}.png"
    figure.savefig(path)
    print(path)


def _images(run: Run, indices: list[int]) -> Tensor:
    images = run.data().images("test")
    if not all(0 <= index < len(images) for index in indices):
        raise ValueError(f"test images are 0 ... {len(images) - 1}; got {indices}")
    return images[indices].float()


def _samples(asked: Asked) -> "Figure":
    return image_grid(asked.run.module().model.sample(64), asked.run.data().image_shape)


def _reconstructions(asked: Asked) -> "Figure":
    x = _images(asked.run, asked.images)
    return reconstruction_grid(x, asked.run.module().model.reconstruct(x), asked.run.data().image_shape, len(x))


@torch.no_grad()
def _traversal(asked: Asked) -> "Figure":
    run, model = asked.run, asked.run.module().model
    draws = model.posterior(run.data().images("test")[:500].float()).rsample(torch.Size([8]))
    latents = draws.mean(0).var(0).argsort(descending=True)[:8].tolist()
    z = model.posterior(_images(run, asked.images[:1])).rsample()[0]
    return latent_traversal(model, z, latents, run.data().image_shape)


def _learning(asked: Asked) -> "Figure":
    return learning_curves({str(run.folder): [history(run.folder / "metrics.csv")] for run in asked.several})


def _k_curve(asked: Asked) -> "Figure":
    return k_curves({str(run.folder): read_summary(run, "test", asked.samples)["k_curve"] for run in asked.several})


def _posterior(asked: Asked) -> "Figure":
    runs = asked.several
    return posterior_contours({run.folder.name: run.module().model for run in runs}, _images(runs[0], asked.images))


@torch.no_grad()
def _layers(asked: Asked) -> "Figure":
    if DensityEstimation.size in asked.run.hparams:
        return layers_figure(load(DensityEstimation, asked.run.folder, teacher=None).model())
    posterior = asked.run.module().model.posterior(_images(asked.run, asked.images[:1])[0])
    return layers_figure(posterior)


def _deformation(asked: Asked) -> "Figure":
    if asked.runs:
        raise ValueError("this picture takes no run")
    direction, zero = torch.tensor([1.0, 1.0]), torch.zeros(())
    maps: dict[str, Bijection] = {
        f"planar, |u| = {size:g}": Planar.from_unconstrained(u=size * direction / 2**0.5, w=2 * direction, b=zero)
        for size in (0.5, 1, 2, 4)
    }
    beside = torch.tensor([0.5, 0.0])  # not the cloud's middle
    for beta in (-0.9, 1, 2, 4):
        maps[f"radial, β = {beta:g}"] = Radial(beside, torch.tensor(1.0), torch.tensor(1.0 + beta))
    return deformation_figure(maps, torch.randn(1500, 2))


PICTURES: dict[str, Callable[[Asked], "Figure"]] = {
    "samples": _samples,
    "reconstructions": _reconstructions,
    "traversal": _traversal,
    "learning": _learning,
    "k-curve": _k_curve,
    "posterior": _posterior,
    "layers": _layers,
    "deformation": _deformation,
}
