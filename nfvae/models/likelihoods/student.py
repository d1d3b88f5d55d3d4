"""Real numbers with heavy tails: independent Student-t elements."""

import math

import torch
from torch import Tensor
from torch.distributions import StudentT
from typing_extensions import override

from nfvae.models.likelihoods.base import DataSpec
from nfvae.models.likelihoods.location_scale import LocationScale
from nfvae.registry import check_number


class Student(LocationScale):
    """Independent Student-t elements, whose tails fall off as |x|^-(df + 1), so that outliers cost little.

    Args:
        spec: form of the data.
        scale: as for `LocationScale`.
        floor: smallest scale.
        df: degrees of freedom, above 1, so that the mean exists.

    Raises:
        ValueError: as for `LocationScale`, or for a `df` that is not above 1.
    """

    def __init__(self, spec: DataSpec, scale: float | str = "decoder", floor: float = 0.01, df: float = 4.0) -> None:
        super().__init__(spec, scale, floor)
        check_number("df", df, above=1)
        self.df = df

    @override
    def elements(self, loc: Tensor, scale: Tensor) -> StudentT:
        return _StudentT(loc.new_tensor(self.df), loc, scale, validate_args=False)


class _StudentT(StudentT):
    """A Student-t whose log-density does not overflow far from the center."""

    @override
    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p of each element, in nats."""
        distance = (value - self.loc) / (self.scale * self.df.sqrt())
        tail = (self.df + 1) * torch.hypot(torch.ones_like(distance), distance).log()
        constant = torch.lgamma(self.df / 2) - torch.lgamma((self.df + 1) / 2) + (self.df * math.pi).log() / 2
        return -tail - self.scale.log() - constant
