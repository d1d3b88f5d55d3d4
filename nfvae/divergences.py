"""Distances between densities, estimated from samples."""

from collections.abc import Callable

from torch import Tensor

from nfvae.distributions import FlowDistribution


def reverse_kl(student: FlowDistribution, target_log_prob: Callable[[Tensor], Tensor], samples: int) -> Tensor:
    """Estimate KL(student || target) from the student's own samples (van den Oord et al., 2018, section 3).

    The student draws, so its density comes with the draw and nothing of it is inverted; the target only says how likely
    a draw is. The gradient reaches the student through its draws; whoever calls freezes the target's parameters.

    Args:
        student: the density that learns, with batch shape (*).
        target_log_prob: z with shape (samples, *, D) -> log-density with shape (samples, *), in nats; unnormalised, it
            shifts the estimate by its log normalizer.
        samples: draws of each element of the batch.

    Returns:
        The estimate for each element of the batch, with shape (*), in nats; differentiable in the student.

    Raises:
        ValueError: for samples below 1.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1; got {samples}")
    z, log_q = student.rsample_and_log_prob((samples,))
    return (log_q - target_log_prob(z)).mean(0)
