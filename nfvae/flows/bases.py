"""Base densities of flows as models of their own, by name."""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, StudentT
from torch.nn.functional import logsigmoid, softplus
from typing_extensions import override

from nfvae.flows.distribution import DiagonalNormal
from nfvae.flows.mixture import Mixture
from nfvae.registry import Registry, check_number, check_sizes


class Base(nn.Module, ABC):
    """The density before the flow. The constructor takes `features`, D, then its options.

    Attributes:
        is_located: whether it uses the location and scale that the density learns.
    """

    is_located: bool = True

    @abstractmethod
    @override
    def forward(self, loc: Tensor, scale: Tensor) -> Distribution:
        """Return the density with event shape (D,), for location and scale with shape (*, D)."""

    @property
    def awaits_data(self) -> bool:
        """Whether the base is still to be initialized from data."""
        return False

    def init_from(self, z: Tensor) -> None:
        """Initialize a data-dependent base from the data before the flow, with shape (N, D)."""


class NormalBase(Base):
    """A Gaussian with learned location and scale."""

    def __init__(self, features: int) -> None:
        super().__init__()

    @override
    def forward(self, loc: Tensor, scale: Tensor) -> DiagonalNormal:
        return DiagonalNormal(loc, scale)


class StudentBase(Base):
    """Independent Student-t coordinates with learned location, scale and degrees of freedom, for heavy tails.

    A flow of Lipschitz maps cannot make heavy tails out of a Gaussian's (arXiv 1907.04481).

    Args:
        features: D.
        df: initial degrees of freedom, above 1; they stay above 1.
    """

    def __init__(self, features: int, df: float = 5.0) -> None:
        super().__init__()
        check_number("df", df, above=1)
        self.raw_df = nn.Parameter(torch.full((features,), math.log(math.expm1(df - 1))))

    @override
    def forward(self, loc: Tensor, scale: Tensor) -> "Independent[Any]":
        return Independent(StudentT(1 + softplus(self.raw_df), loc, scale, validate_args=False), 1, validate_args=False)


class UniformBase(Base):
    """The uniform distribution on (0, 1)^D, brought to the whole space by z = loc + scale logit(u).

    A flow needs a base with a density everywhere, which a cube in the space itself does not have.
    """

    def __init__(self, features: int) -> None:
        super().__init__()

    @override
    def forward(self, loc: Tensor, scale: Tensor) -> "Independent[Any]":
        return Independent(LogitUniform(loc, scale), 1, validate_args=False)


class LogitUniform(Distribution):
    """The distribution of loc + scale logit(u) with u uniform on (0, 1), a logistic distribution."""

    arg_constraints: ClassVar[Any] = {}
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)  # type: ignore[no-untyped-call]
        super().__init__(self.loc.shape, validate_args=False)

    @override
    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p of each coordinate, in nats."""
        z = (value - self.loc) / self.scale
        log_prob: Tensor = logsigmoid(z) + logsigmoid(-z) - self.scale.log()
        return log_prob

    @override
    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw values with shape (*sample_shape, *), differentiably."""
        shape = torch.Size(sample_shape) + self.loc.shape
        uniform = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device)
        info = torch.finfo(self.loc.dtype)
        drawn: Tensor = self.loc + self.scale * torch.logit(uniform.clamp(info.tiny, 1 - info.eps))
        return drawn

    @override
    def expand(self, batch_shape: Any, _instance: Any = None) -> "LogitUniform":
        """Return the same distribution with another batch shape."""
        return LogitUniform(self.loc.expand(batch_shape), self.scale.expand(batch_shape))


class MixtureBase(Base):
    """A mixture of Gaussians, whose means start at the centers that k-means finds in the data.

    Args:
        features: D.
        components: number of Gaussians K.

    References:
        Resampling Base Distributions of Normalizing Flows (why a mixture), arXiv 2110.15828.
    """

    is_located = False
    started: Tensor

    def __init__(self, features: int, components: int = 10) -> None:
        super().__init__()
        check_sizes(components=components)
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(torch.randn(components, features))
        self.log_scale = nn.Parameter(torch.zeros(components, features))
        self.register_buffer("started", torch.tensor(False))

    @property
    @override
    def awaits_data(self) -> bool:
        return not self.started

    @override
    def forward(self, loc: Tensor, scale: Tensor) -> Mixture:
        means, scales = loc.unsqueeze(-2) + self.loc, self.log_scale.exp()
        density = Mixture(DiagonalNormal(means, scales.expand_as(means)), self.logits.expand(means.shape[:-1]))
        return density

    @override
    @torch.no_grad()
    def init_from(self, z: Tensor) -> None:
        from sklearn.cluster import KMeans

        count = len(self.logits)
        if len(z) < count:
            raise ValueError(f"a mixture of {count} components needs as many data; got {len(z)}")
        found = KMeans(count, n_init=1, random_state=0).fit(z[:20_000].double().cpu().numpy())
        labels = torch.as_tensor(found.labels_).long()
        own = z[:20_000].double().cpu()
        for place in range(count):
            members = own[labels == place]
            spread = members.std(0, correction=0) if len(members) > 1 else torch.ones(z.shape[1])
            self.log_scale[place] = spread.clamp_min(0.05).log()
            self.logits[place] = math.log(max(len(members), 1) / len(own))
        self.loc.copy_(torch.as_tensor(found.cluster_centers_))
        self.started.fill_(True)


BASES = Registry(
    "base",
    Base,  # type: ignore[type-abstract]
    {
        "normal": "nfvae.flows.bases:NormalBase",
        "student": "nfvae.flows.bases:StudentBase",
        "uniform": "nfvae.flows.bases:UniformBase",
        "mixture": "nfvae.flows.bases:MixtureBase",
    },
)
