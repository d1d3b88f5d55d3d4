"""Numbers in [0, 1]: independent continuous Bernoulli elements."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent
from typing_extensions import override

from nfvae.models.likelihoods.base import Likelihood, Statistics, check_in_unit
from nfvae.numerics import at_least_float32

_SMALL = 0.1  # |logit| below which a series replaces the formula


class ContinuousBernoulli(Likelihood):
    """Independent elements with density l exp(l x) / (exp(l) - 1) on [0, 1], given by l, one number per element.

    It is the density that the binary cross-entropy of gray values lacks a normalizer of.

    Args:
        spec: form of the data, in [0, 1].

    References:
        The Continuous Bernoulli: Fixing a Pervasive Error in Variational Autoencoders, arXiv 1907.06845.
    """

    is_density = True

    @override
    def forward(self, raw: Tensor) -> "Independent[Any]":
        return Independent(ContinuousBernoulliElements(at_least_float32(raw).squeeze(-2)), 1, validate_args=False)

    @override
    def check(self, x: Tensor) -> None:
        check_in_unit(x)

    @override
    def start(self, statistics: Statistics) -> Tensor:
        return (12 * (statistics.mean - 0.5))[None]  # the slope of the mean at 1/2 is 1/12


class ContinuousBernoulliElements(Distribution):
    """Continuous Bernoulli variables with logits l of shape (*, P)."""

    arg_constraints: ClassVar[Any] = {}

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        super().__init__(logits.shape, validate_args=False)

    @override
    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p of each element with shape (*, P), in nats: l x - max(l, 0) + log(|l| / (1 - exp(-|l|)))."""
        size = self.logits.abs()
        large = size.clamp_min(_SMALL)
        series = size / 2 - size.square() / 24 + size.pow(4) / 2880
        normalizer = torch.where(size < _SMALL, series, large.log() - torch.log(-torch.expm1(-large)))
        return self.logits * value - self.logits.relu() + normalizer

    @property
    @override
    def mean(self) -> Tensor:
        size = self.logits.abs()
        large = size.clamp_min(_SMALL)
        above_half = torch.where(
            size < _SMALL, 0.5 + size / 12 - size.pow(3) / 720, -1 / torch.expm1(-large) - 1 / large
        )
        return torch.where(self.logits < 0, 1 - above_half, above_half)

    @property
    @override
    def mode(self) -> Tensor:
        """The end of the interval where the density is larger; 1/2 if it is uniform."""
        return (self.logits.sign() + 1) / 2

    @override
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw values with shape (*sample_shape, *, P), by the inverse of the distribution function."""
        uniform = torch.rand(*sample_shape, *self.logits.shape, dtype=self.logits.dtype, device=self.logits.device)
        size = self.logits.abs()
        large = size.clamp_min(_SMALL**3)
        falling = -torch.log1p(uniform * torch.expm1(-large)) / large
        drawn = torch.where(size < _SMALL**3, uniform, falling)
        return torch.where(self.logits < 0, drawn, 1 - drawn)
