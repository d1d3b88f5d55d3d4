"""Samples of a run, a VAE or a density."""

import torch
from torch import Tensor

from nfvae.flows import tempered
from nfvae.registry import check_number
from nfvae.runs import Run

COLUMNS = 8
"""Images of a class that are drawn in turn, and columns of a picture of images."""


def usual_values(run: Run) -> str:
    """Return the values that stand for p(x|z) by default: means of images, samples of vectors."""
    return "mean" if len(run.spec.shape) > 1 else "sample"


def usual_condition(run: Run, count: int) -> Tensor | None:
    """Return conditions of the data with shape (count, C): eight of each class in turn, or those of the test data."""
    turn = torch.arange(count)
    if run.names.classes:
        return torch.eye(len(run.names.classes))[turn // COLUMNS % len(run.names.classes)]
    if not run.spec.conditions:
        return None
    given = run.data().rows("test")[:, run.spec.size :]
    return given[turn % len(given)]


def draw_samples(run: Run, count: int, temperature: float, values: str, condition: Tensor | None) -> Tensor:
    """Draw data from the model of a run with shape (count, P); without a condition, given the usual ones.

    Raises:
        ValueError: for a temperature that is not above 0, values that the model does not have, or samples that are not
            finite.
    """
    check_number("--temperature", temperature, above=0)
    drawn = _drawn(run, count, temperature, values, condition)
    if not drawn.isfinite().all():
        raise ValueError("the samples are not finite: the condition or the temperature is too far from the training")
    return drawn


def _drawn(run: Run, count: int, temperature: float, values: str, condition: Tensor | None) -> Tensor:
    condition = usual_condition(run, count) if condition is None else condition
    if run.kind == "vae":
        return run.vae().sample(count, temperature, values, condition)
    if values != "sample":
        raise ValueError(f"a density has samples alone; got --values {values}")
    model = run.density()
    with torch.no_grad():
        density = tempered(model(None if condition is None else condition.expand(count, -1)), temperature)
        drawn: Tensor = density.sample(() if run.spec.conditions else (count,))
    return drawn
