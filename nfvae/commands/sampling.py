"""Samples of a run, a VAE or a density."""

import torch
from torch import Tensor

from nfvae.flows import tempered
from nfvae.runs import Run

COLUMNS = 8
"""Images of a class that are drawn in turn, and columns of a picture of images."""


def usual_values(run: Run) -> str:
    """Return the values that stand for p(x|z) by default: means of images, samples of vectors."""
    return "mean" if len(run.spec.shape) > 1 else "sample"


def draw_samples(run: Run, count: int, temperature: float, values: str, condition: Tensor | None) -> Tensor:
    """Draw data from the model of a run with shape (count, P).

    Without a condition, those of the data are taken in turn: eight of each class, or those of the test data.
    """
    if condition is None and run.spec.conditions:
        turn = torch.arange(count)
        if run.names.classes:
            condition = torch.eye(len(run.names.classes))[turn // COLUMNS % len(run.names.classes)]
        else:
            given = run.data().rows("test")[:, run.spec.size :]
            condition = given[turn % len(given)]
    if run.kind == "vae":
        return run.vae().sample(count, temperature, values, condition)
    if values != "sample":
        raise ValueError(f"a density has samples alone; got --values {values}")
    model = run.density()
    with torch.no_grad():
        density = tempered(model(None if condition is None else condition.expand(count, -1)), temperature)
        drawn: Tensor = density.sample(() if run.spec.conditions else (count,))
    return drawn
