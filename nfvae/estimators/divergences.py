"""Distances between densities, estimated from samples."""

from collections.abc import Callable

import torch
from torch import Tensor

from nfvae.estimators.gradients import path_draw
from nfvae.flows import FlowDistribution

KL_GRADIENTS = ("plain", "path")
"""Names for `path` of `reverse_kl`, false and true."""


def reverse_kl(
    student: FlowDistribution, target_log_prob: Callable[[Tensor], Tensor], samples: int, path: bool = False
) -> Tensor:
    """Estimate KL(student || target) from the student's own samples.

    The density of the student's own samples comes with them, so nothing of it is inverted; the target only says how
    likely a sample is. The gradient reaches the student through its samples; the target's parameters are for the caller
    to freeze.

    Args:
        student: the density that learns, with batch shape (*).
        target_log_prob: z with shape (samples, *, D) -> log-density with shape (samples, *), in nats; unnormalized, it
            shifts the estimate by its log normalizer.
        samples: of each element of the batch.
        path: whether the gradient is that along the paths of the samples alone, whose variance vanishes as the student
            reaches the target: see `path_draw`.

    Returns:
        The estimate for each element of the batch, with shape (*), in nats; differentiable in the student.

    Raises:
        ValueError: for samples below 1.

    References:
        Parallel WaveNet: Fast High-Fidelity Speech Synthesis, arXiv 1711.10433, section 3.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1; got {samples}")
    draw = path_draw(student, (samples,)) if path and torch.is_grad_enabled() else student.draw((samples,))
    return (draw.log_prob - target_log_prob(draw.z)).mean(0)
