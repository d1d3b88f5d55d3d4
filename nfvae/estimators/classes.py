"""Classification by a model of labeled data, and how well its probabilities are calibrated."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from nfvae.models import VAE

BINS = 15
"""Number of bins of confidence in a calibration curve."""


class Calibration(NamedTuple):
    """Accuracy over confidence, the largest class probability of a datum, in bins of equal width.

    Attributes:
        confidence: mean confidence in each bin, NaN for an empty bin, with shape (15,).
        accuracy: share of correct predictions in each bin, NaN for an empty bin, with shape (15,).
        counts: number of data in each bin, with shape (15,).
    """

    confidence: Tensor
    accuracy: Tensor
    counts: Tensor

    @property
    def error(self) -> float:
        """The expected calibration error: the mean of |accuracy - confidence| over data."""
        gap = (self.accuracy - self.confidence).abs().nan_to_num(0)
        return float((gap * self.counts).sum() / self.counts.sum())


def class_log_likelihoods(model: VAE, x: Tensor, estimate: Callable[[Tensor], Tensor]) -> Tensor:
    """Estimate log p(x|y) of every datum under every class y, in nats, with shape (N, K).

    Args:
        model: a VAE of labeled data.
        x: data with shape (N, P), or rows with shape (N, P + K), whose labels are ignored.
        estimate: rows with shape (N, P + K) -> estimates of log p(x|y) with shape (N,).

    Raises:
        ValueError: for a model of data without labels.
    """
    classes = 0 if model.spec is None else model.spec.conditions
    if model.spec is None or not classes:
        raise ValueError("this model was trained without labels, so it cannot classify")
    values = x[:, : model.spec.size].float()
    rows = (torch.cat([values, each.expand(len(x), classes)], 1) for each in torch.eye(classes))
    return torch.stack([estimate(each) for each in rows], 1)


def class_probabilities(log_likelihoods: Tensor, shares: Tensor) -> Tensor:
    """Return p(y|x) ∝ p(x|y) p(y), by Bayes' rule.

    Args:
        log_likelihoods: log p(x|y) with shape (N, K), in nats.
        shares: p(y) with shape (K,), such as the shares of the classes in the training data.
    """
    return (log_likelihoods + shares.log()).softmax(1)


def calibration(probabilities: Tensor, labels: Tensor) -> Calibration:
    """Compare confidence with accuracy.

    Args:
        probabilities: class probabilities with shape (N, K).
        labels: true classes with shape (N,).

    References:
        On Calibration of Modern Neural Networks, arXiv 1706.04599.
    """
    confidence, predicted = probabilities.double().max(1)
    place = (confidence * BINS).long().clamp_max(BINS - 1)
    count = torch.zeros(BINS, dtype=torch.float64).index_add(0, place, torch.ones_like(confidence))
    sums = [torch.zeros_like(count).index_add(0, place, each) for each in (confidence, (predicted == labels).double())]
    confidence_mean, accuracy = (each / count for each in sums)
    return Calibration(confidence_mean, accuracy, count)
