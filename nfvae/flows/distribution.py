"""The density that a flow makes of a Gaussian."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, TransformedDistribution
from typing_extensions import override

from nfvae.flows.bijection import Bijection, check_points
from nfvae.numerics import full_precision


class Draw(NamedTuple):
    """Samples with their density, both from the forward pass alone.

    Attributes:
        z: samples with shape (*, D).
        log_prob: log-density of each sample with shape (*), in nats.
        log_det: log|det dz_K/dz_0| of the flow with shape (*), already contained in `log_prob`.
    """

    z: Tensor
    log_prob: Tensor
    log_det: Tensor


class DiagonalNormal(Independent):  # type: ignore[type-arg]  # not generic at run time
    """The Gaussian N(loc, diag(scale²)); both tensors with shape (*, D)."""

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        super().__init__(Normal(loc, scale, validate_args=False), 1, validate_args=False)
        self.loc, self.scale = loc, scale

    @override
    def log_prob(self, value: Tensor) -> Tensor:
        """Return log N(value) with shape (*), in nats."""
        return self.log_prob_of_noise((check_points(value, self.loc.shape[-1]) - self.loc) / self.scale)

    def log_prob_of_noise(self, noise: Tensor) -> Tensor:
        """Return log N(loc + scale noise) with shape (*), in nats, for noise with shape (*, D)."""
        normalizer = self.scale.log().sum(-1) + noise.shape[-1] * math.log(2 * math.pi) / 2
        return -noise.square().sum(-1) / 2 - normalizer

    @override
    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> "DiagonalNormal":
        """Return the same Gaussian with another batch shape, as in `torch.distributions`."""
        return DiagonalNormal(self.loc.expand(*batch_shape, -1), self.scale.expand(*batch_shape, -1))

    def tempered(self, temperature: float) -> "DiagonalNormal":
        """Return the Gaussian whose noise is multiplied by a temperature."""
        return DiagonalNormal(self.loc, temperature * self.scale)


class FlowDistribution(TransformedDistribution):
    """A base density, usually a diagonal Gaussian, pushed through a bijection.

    A sample and its density come from the forward pass alone; the density of a given point uses the exact inverse.

    The batch shapes of base and bijection are broadcast: one Gaussian under a flow of B contexts makes B densities.

    Args:
        base: distribution of z_0 with event shape (D,).
        bijection: z_0 -> z_K.

    Raises:
        ValueError: for batch shapes that do not broadcast, or different sizes of base and bijection.
    """

    base: Any

    def __init__(self, base: Distribution, bijection: Bijection) -> None:
        if base.event_shape != (bijection.features,):
            expected = f"expected points with shape (*, {bijection.features})"
            raise ValueError(f"{expected}; got a base with event shape {tuple(base.event_shape)}")
        own, others = base.batch_shape, bijection.batch_shape
        try:
            batch = torch.broadcast_shapes(own, others)  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise ValueError(f"a base of batch {tuple(own)} has no bijections of batch {tuple(others)}") from error
        base = base if batch == own else base.expand(batch)
        super().__init__(base, [bijection], validate_args=False)
        self.base, self.bijection = base, bijection

    @override
    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> "FlowDistribution":
        """Return the same density with another batch shape, as in `torch.distributions`."""
        return FlowDistribution(self.base.expand(batch_shape), self.bijection)

    @override
    def entropy(self) -> Tensor:
        """A flow has no entropy in closed form."""
        raise NotImplementedError("a flow has no entropy in closed form: average -draw((1000,)).log_prob")

    @property
    @override
    def mean(self) -> Tensor:
        """A flow has no mean in closed form."""
        raise NotImplementedError("a flow has no mean in closed form: average samples, as rsample((1000,)).mean(0)")

    @property
    @override
    def variance(self) -> Tensor:
        """A flow has no variance in closed form."""
        raise NotImplementedError("a flow has no variance in closed form: take that of rsample((1000,))")

    def draw(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Draw:
        """Draw z_K with its density; each tensor begins with (*sample_shape, *batch).

        The draw is differentiable unless the base is a mixture, whose samples are not.
        """
        if not isinstance(self.base, DiagonalNormal):
            draw = self.base.rsample if self.base.has_rsample else self.base.sample
            return self._pushed(draw(torch.Size(sample_shape)))
        shape = torch.Size(sample_shape) + self.base.loc.shape
        return self.from_noise(torch.randn(shape, dtype=self.base.loc.dtype, device=self.base.loc.device))

    def _pushed(self, start: Tensor) -> Draw:
        """Push samples of the base through the bijection."""
        with full_precision(start.device):
            z, log_det = self.bijection.forward_and_log_det(start)
        return Draw(z, self.base.log_prob(start) - log_det, log_det)

    def _gaussian(self, use: str) -> DiagonalNormal:
        """Return a base that is Gaussian.

        Raises:
            ValueError: for another base.
        """
        if not isinstance(self.base, DiagonalNormal):
            raise ValueError(f"{use} needs a Gaussian base; this density has {type(self.base).__name__}")
        return self.base

    def from_noise(self, noise: Tensor) -> Draw:
        """Turn standard normal noise with shape (*, D) into samples, differentiably.

        Raises:
            ValueError: for a base that is not Gaussian.
        """
        check_points(noise, self.bijection.features)
        base = self._gaussian("noise")
        with full_precision(noise.device):
            z, log_det = self.bijection.forward_and_log_det(torch.addcmul(base.loc, base.scale, noise))
        return Draw(z, base.log_prob_of_noise(noise) - log_det, log_det)

    def to_noise(self, value: Tensor) -> Tensor:
        """Turn samples with shape (*, D) back into noise, the inverse of `from_noise`."""
        base = self._gaussian("noise")
        with full_precision(value.device):
            z, _ = self.bijection.inverse_and_log_det(value)
        return (z - base.loc) / base.scale

    @override
    def log_prob(self, value: Tensor) -> Tensor:
        """Return log q(value) with shape (*), in nats, differentiable in value and parameters."""
        check_points(value, self.bijection.features)
        whole = self.base.batch_shape + self.base.event_shape
        value = value.expand(torch.broadcast_shapes(value.shape, whole))  # type: ignore[no-untyped-call]
        with full_precision(value.device):
            z, log_det = self.bijection.inverse_and_log_det(value)
        return self.base.log_prob(z) + log_det  # type: ignore[no-any-return]

    def tempered(self, temperature: float) -> "FlowDistribution":
        """Return the density whose noise is multiplied by a temperature."""
        return FlowDistribution(self._gaussian("a temperature").tempered(temperature), self.bijection)
