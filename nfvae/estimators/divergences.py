"""Divergences between densities, estimated from samples."""

from collections.abc import Callable

import torch
from torch import Tensor

from nfvae.estimators.gradients import path_draw
from nfvae.flows import FlowDistribution

KL_GRADIENTS = ("plain", "path")
"""Names of the gradients of `reverse_kl`: `path` false and true."""


def reverse_kl(
    student: FlowDistribution, target_log_prob: Callable[[Tensor], Tensor], samples: int, path: bool = False
) -> Tensor:
    """Estimate KL(student || target) from the student's own samples.

    Sampling the student also gives its density, so the student is not inverted; the target only evaluates samples.
    The gradient reaches the student through its samples. The caller must freeze the target's parameters.

    Args:
        student: the density that learns, with batch shape (*).
        target_log_prob: z with shape (samples, *, D) -> log-density with shape (samples, *), in nats; an unnormalized
            one shifts the estimate by its log normalizer.
        samples: number of samples per element of the batch.
        path: whether to use only the gradient along the paths of the samples, whose variance vanishes as the student
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
