"""Bijections of the latent: pure mathematics on tensors, no parameters of their own."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions import Transform, constraints


class Bijection(Transform, ABC):
    """A smooth bijection of R^D, in both directions with its log-determinant.

    *Forward* always means z_0 -> z_K, the sampling direction of a flow; `log_det` is log|det dy/dz| of the call it
    comes from. A subclass writes the two abstract methods, and its tensors broadcast against the batch dimensions
    of z, so that one bijection built for a batch of B images serves K samples of shape (K, B, D). The interface of
    `torch.distributions.Transform` is derived, so `.inv` and `TransformedDistribution` work unchanged.

    Attributes:
        batch_shape: of the bijection's tensors, where a flow has built it; None for one that was built by hand.

    Where a map has parameters under a constraint, `constrain` turns unconstrained tensors into the map's own, and the
    constructor takes the map's own. Constants, as a mask or a permutation, are made in the constructor.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True
    batch_shape: torch.Size | None = None

    @abstractmethod
    def forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z with shape (*, D) to y with shape (*, D) and log|det dy/dz| with shape (*)."""

    @abstractmethod
    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Map y with shape (*, D) to z with shape (*, D) and log|det dz/dy| with shape (*), differentiably."""

    def pull_back(self, z: Tensor, y: Tensor, vector: Tensor) -> Tensor:
        """Return J⁻ᵀ v, J the Jacobian dy/dz: how a gradient with respect to z, the map undone, becomes one to y.

        Here it is the gradient through the inverse; a subclass that knows better says so.

        Args:
            z: points with shape (*, D) that require a gradient.
            y: what `forward_and_log_det` made of them, still on the graph.
            vector: v with shape (*, D).
        """
        with torch.enable_grad():
            point = y.detach().requires_grad_()
            back, _ = self.inverse_and_log_det(point)
            (pulled,) = torch.autograd.grad(back, point, vector)
        return pulled

    @staticmethod
    def constrain(*args: Any, **free: Any) -> dict[str, Tensor]:
        """Turn unconstrained tensors into the constructor's arguments, by name; here they are the same.

        The tensors may have further leading dimensions, as a stack of layers has, and so do those that are returned.
        """
        return free

    @classmethod
    def from_unconstrained(cls, **free: Tensor) -> Self:
        """Build the bijection from unconstrained tensors: see `constrain`."""
        own: dict[str, Any] = cls.constrain(**free)
        return cls(**own)

    def with_cache(self, cache_size: int = 1) -> Self:
        """Return the same bijection that keeps its last pair of points, as `torch.distributions` has it."""
        if cache_size == self._cache_size:
            return self
        cached = copy.copy(self)
        Transform.__init__(cached, cache_size)
        return cached

    def _call(self, x: Tensor) -> Tensor:
        return self.forward_and_log_det(x)[0]

    def _inverse(self, y: Tensor) -> Tensor:
        return self.inverse_and_log_det(y)[0]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return log|det dy/dx| with shape (*); y = self(x) is not needed."""
        return self.forward_and_log_det(x)[1]


class Chain(Bijection):
    """Apply bijections one after the other, the first one first; an empty one is the identity, one inside dissolves.

    - *Forward*: y = f_n(... f_1(z)).
    - *Log-determinant*: the sum over the parts.
    - *Inverse*: the parts' inverses, the last one first.
    - *Constraint*: none.
    """

    def __init__(self, parts: Sequence[Bijection]) -> None:
        super().__init__()
        self.parts: tuple[Bijection, ...] = tuple(
            each for part in parts for each in (part.parts if isinstance(part, Chain) else [part])
        )
        shapes = [part.batch_shape for part in parts]
        if all(shape is not None for shape in shapes):
            self.batch_shape = torch.broadcast_shapes(*shapes)  # type: ignore[no-untyped-call]

    def forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        total = z.new_zeros(z.shape[:-1])
        for part in self.parts:
            z, log_det = part.forward_and_log_det(z)
            total = total + log_det
        return z, total

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        total = y.new_zeros(y.shape[:-1])
        for part in reversed(self.parts):
            y, log_det = part.inverse_and_log_det(y)
            total = total + log_det
        return y, total


class Inverse(Bijection):
    """Swap the two directions of a bijection.

    - *Forward*: y = f⁻¹(z).
    - *Log-determinant*: that of f⁻¹ at z.
    - *Inverse*: z = f(y).
    - *Constraint*: none.
    """

    def __init__(self, bijection: Bijection) -> None:
        super().__init__()
        self.bijection, self.batch_shape = bijection, bijection.batch_shape

    def forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        return self.bijection.inverse_and_log_det(z)

    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        return self.bijection.forward_and_log_det(y)


def layers_of(bijection: Bijection) -> list[Bijection]:
    """Return the layers of a flow's bijection in the order in which a draw passes them."""
    if isinstance(bijection, Chain):
        return list(bijection.parts)
    if isinstance(bijection, Inverse):
        return [Inverse(part) for part in reversed(layers_of(bijection.bijection))]
    return [bijection]
