"""What `nfvae fit` can train, by the name that a config's `task` gives it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl

from nfvae.data import BinarizedImages, ToyVectors
from nfvae.data.images import pixels_of
from nfvae.data.toys import features_of
from nfvae.density import DensityEstimation, density_table
from nfvae.distillation import PosteriorDistillation
from nfvae.learner import Learner
from nfvae.plots import density_figure, image_grid, reconstruction_grid
from nfvae.runs import BEST, load, read_checkpoint
from nfvae.training import FlowVAE


class Task(NamedTuple):
    """A kind of training: what is trained on what, the size that the data set decides, and the pictures at the end."""

    model: type[Learner]
    data: type[pl.LightningDataModule]
    size_of: Callable[[str], int] | None
    draw: Callable[[Path, Any], list[Path]]


def _draw_images(folder: Path, data: BinarizedImages) -> list[Path]:
    """Draw samples and reconstructions."""
    model, x = load(FlowVAE, folder).model, data.images("test")[:32].float()
    figures = {
        "samples": image_grid(model.sample(64), data.image_shape),
        "reconstructions": reconstruction_grid(x, model.reconstruct(x), data.image_shape),
    }
    return [_saved(figure, folder / f"{name}.png") for name, figure in figures.items()]


def _draw_density(folder: Path, data: ToyVectors) -> list[Path]:
    """Draw data and density; of a student also its teacher's, with a table of both."""
    assert data.splits is not None
    student = load(DensityEstimation, folder, teacher=None)
    densities = {"model": student.model()}
    if teacher := read_checkpoint(folder / BEST)["hyper_parameters"]["teacher"]:
        densities = {
            "teacher": load(DensityEstimation, Path(teacher), teacher=None).model(),
            "student": student.model(),
        }
    print(density_table(densities, data.splits.test))
    return [_saved(density_figure(data.splits.test, densities), folder / "density.png")]


def _saved(figure: Any, path: Path) -> Path:
    figure.savefig(path)
    return path


TASKS = {
    "vae": Task(FlowVAE, BinarizedImages, pixels_of, _draw_images),
    "distill": Task(PosteriorDistillation, BinarizedImages, None, _draw_images),
    "density": Task(DensityEstimation, ToyVectors, features_of, _draw_density),
}
