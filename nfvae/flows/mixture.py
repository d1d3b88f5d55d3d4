"""Mixtures of densities, and densities whose noise is scaled."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, MixtureSameFamily
from torch.nn import functional
from typing_extensions import override

from nfvae.flows.bijection import check_points
from nfvae.flows.distribution import DiagonalNormal
from nfvae.numerics import double


class Mixture(MixtureSameFamily):
    """A mixture of K densities.

    Args:
        components: densities with batch shape (K,) and event shape (D,).
        logits: logits of the weights with shape (K,).
    """

    def __init__(self, components: Distribution, logits: Tensor) -> None:
        super().__init__(Categorical(logits=logits, validate_args=False), components, validate_args=False)

    @override
    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(value) with shape (*), in nats, for values with shape (*, D).

        For diagonal Gaussians it uses matrix products, so that no tensor has shape (*, K, D). These are in float64 and
        centered at the components' mean, since squares are multiplied out.
        """
        parts = self.component_distribution
        check_points(value, self.event_shape[-1])
        if not isinstance(parts, DiagonalNormal) or parts.loc.ndim > 2:
            return super().log_prob(value)  # type: ignore[no-untyped-call, no-any-return]
        z, loc, scale, logits = map(double, (value, parts.loc, parts.scale, self.mixture_distribution.logits))
        middle = loc.mean(0)
        z, loc = z - middle, loc - middle
        precision = scale.square().reciprocal()
        at_zero = DiagonalNormal(loc, scale).log_prob(torch.zeros_like(loc))
        coefficients = torch.cat([loc * precision, -precision / 2], -1)
        log_joint = functional.linear(torch.cat([z, z.square()], -1), coefficients, logits + at_zero)
        return log_joint.to(value).logsumexp(-1)

    @override
    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> "Mixture":
        """Return the same mixture with another batch shape, as in `torch.distributions`."""
        logits = self.mixture_distribution.logits
        shape = torch.Size(batch_shape) + logits.shape[-1:]
        return Mixture(self.component_distribution.expand(shape), logits.expand(shape))

    def tempered(self, temperature: float) -> "Mixture":
        """Return the mixture with tempered components: see `tempered`."""
        return Mixture(tempered(self.component_distribution, temperature), self.mixture_distribution.logits)


def tempered(density: Any, temperature: float) -> Any:
    """Return a density whose noise is multiplied by a temperature.

    Raises:
        ValueError: for a density without `tempered`.
    """
    if temperature == 1:
        return density
    if not hasattr(density, "tempered"):
        raise ValueError(f"{type(density).__name__} has no temperature")
    return density.tempered(temperature)
