"""Bijections of the latent: pure mathematics on tensors, no parameters of their own."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self, final

import torch
from torch import Tensor, nn
from torch.distributions import Transform, constraints
from typing_extensions import override


class Bijection(Transform, ABC):
    """A smooth bijection of R^D with its log-determinant, in both directions.

    *Forward* always means z_0 -> z_K, the sampling direction of a flow; `log_det` is log|det dy/dz| of the call it
    comes from. A subclass writes `_forward_and_log_det` and `_inverse_and_log_det`. Its tensors broadcast against the
    batch dimensions of z, so one bijection built for a batch of B images serves K samples of shape (K, B, D).
    The interface of `torch.distributions.Transform` is derived, so `.inv` and `TransformedDistribution` work unchanged.

    If a map's parameters are constrained, `constrain` computes them from unconstrained tensors, and the constructor
    takes the constrained ones. The constructor makes constants, such as a mask or a permutation.

    Args:
        shape: (*, D), where * is the batch shape of the bijection's tensors; for vectors w it is `w.shape`.

    Raises:
        ValueError: for a shape without D.

    Attributes:
        features: D.
        batch_shape: the batch shape of the bijection's tensors.
        exact: whether log-determinants are exact; if not, they are random or truncated.
    """

    exact: bool = True

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        if not isinstance(shape, Sequence) or not shape or shape[-1] < 1:
            raise ValueError(f"a bijection takes the shape (*, D) of its tensors, such as w.shape; got {shape!r}")
        self.features, self.batch_shape = shape[-1], torch.Size(shape[:-1])

    @final
    def forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z with shape (*, D) to y with shape (*, D) and log|det dy/dz| with shape (*).

        Raises:
            ValueError: for points of another size.
        """
        return self._forward_and_log_det(check_points(z, self.features))

    @final
    def inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Map y with shape (*, D) to z with shape (*, D) and log|det dz/dy| with shape (*), differentiably.

        Raises:
            ValueError: for points of another size.
        """
        return self._inverse_and_log_det(check_points(y, self.features))

    @abstractmethod
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Implement `forward_and_log_det` for points of the right size."""

    @abstractmethod
    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Implement `inverse_and_log_det` for points of the right size."""

    def tensors(self) -> list[Tensor]:
        """Return each tensor that the map uses, once; a custom backward must differentiate them all.

        By default they are the floating tensors in the attributes, at any depth.
        """
        own = {name: value for name, value in vars(self).items() if name != "_cached_x_y"}  # cached points
        return list({id(tensor): tensor for tensor in _tensors_in(own)}.values())

    def pull_back(self, z: Tensor, y: Tensor, vector: Tensor) -> Tensor:
        """Return J⁻ᵀ v with J = dy/dz, which turns a gradient with respect to z into one with respect to y.

        By default it is the gradient through the inverse; a subclass may have a formula.

        Args:
            z: points with shape (*, D) that require a gradient.
            y: images of z by `forward_and_log_det`, still on the graph.
            vector: v with shape (*, D).
        """
        with torch.enable_grad():
            point = y.detach().requires_grad_()
            back, _ = self.inverse_and_log_det(point)
            (pulled,) = torch.autograd.grad(back, point, vector)
        return pulled

    @staticmethod
    def constrain(*args: Any, **free: Any) -> dict[str, Tensor]:
        """Turn unconstrained tensors into the constructor's arguments, by name; by default unchanged.

        The tensors may have more leading dimensions, as for a stack of layers; the results then have them too.
        """
        return free

    @classmethod
    def from_unconstrained(cls, **free: Tensor) -> Self:
        """Build the bijection from unconstrained tensors: see `constrain`."""
        own: dict[str, Any] = cls.constrain(**free)
        return cls(**own)

    @override
    def with_cache(self, cache_size: int = 1) -> Self:
        """Return the same bijection with its last pair of points cached, as in `torch.distributions`."""
        if cache_size == self._cache_size:
            return self
        cached = copy.copy(self)
        Transform.__init__(cached, cache_size)
        return cached

    @override
    def _call(self, x: Tensor) -> Tensor:
        return self.forward_and_log_det(x)[0]

    @override
    def _inverse(self, y: Tensor) -> Tensor:
        return self.inverse_and_log_det(y)[0]

    @override
    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return log|det dy/dx| with shape (*); y = self(x) is not needed."""
        return self.forward_and_log_det(x)[1]


def check_points(points: Tensor, features: int) -> Tensor:
    """Check that points have shape (*, features) and return them.

    Raises:
        ValueError: for points of another size.
    """
    if points.shape[-1:] != (features,):
        raise ValueError(f"expected points with shape (*, {features}); got {tuple(points.shape)}")
    return points


def _tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the floating tensors of a value: an attribute, a collection of them, or the parts of an object."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif hasattr(value, "tensors"):
        yield from value.tensors()
    elif isinstance(value, nn.Module):
        yield from value.parameters()
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors_in(part)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for part in value:
            yield from _tensors_in(part)
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        yield from _tensors_in(vars(value))


class Identity(Bijection):
    """Leave points unchanged.

    - *Forward*: y = z.
    - *Log-determinant*: 0.
    - *Inverse*: z = y.
    - *Constraint*: none.
    """

    @override
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z, z.new_zeros(z.shape[:-1])

    @override
    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return y, y.new_zeros(y.shape[:-1])

    @override
    def pull_back(self, z: Tensor, y: Tensor, vector: Tensor) -> Tensor:
        return vector


class Chain(Bijection):
    """Apply bijections in order; a chain within a chain is flattened.

    - *Forward*: y = f_n(... f_1(z)).
    - *Log-determinant*: the sum over the parts.
    - *Inverse*: the parts' inverses in reverse order.
    - *Constraint*: none.

    Args:
        parts: bijections of the same D, at least one.

    Raises:
        ValueError: for no parts, or parts of different D.
    """

    def __init__(self, parts: Sequence[Bijection]) -> None:
        if len(sizes := {part.features for part in parts}) != 1:
            raise ValueError(f"a chain takes bijections of one size, at least one; got sizes {sorted(sizes)}")
        batch = torch.broadcast_shapes(*(part.batch_shape for part in parts))  # type: ignore[no-untyped-call]
        super().__init__((*batch, *sizes))
        self.parts: tuple[Bijection, ...] = tuple(
            each for part in parts for each in (part.parts if isinstance(part, Chain) else [part])
        )
        self.exact = all(part.exact for part in parts)

    @override
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        total = z.new_zeros(z.shape[:-1])
        for part in self.parts:
            z, log_det = part.forward_and_log_det(z)
            total = total + log_det
        return z, total

    @override
    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
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
        super().__init__((*bijection.batch_shape, bijection.features))
        self.bijection, self.exact = bijection, bijection.exact

    @override
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.bijection.inverse_and_log_det(z)

    @override
    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.bijection.forward_and_log_det(y)


def layers_of(bijection: Bijection) -> list[Bijection]:
    """Return the layers of a flow's bijection in sampling order; the identity has none."""
    if isinstance(bijection, Chain):
        return list(bijection.parts)
    if isinstance(bijection, Identity):
        return []
    if isinstance(bijection, Inverse):
        return [Inverse(part) for part in reversed(layers_of(bijection.bijection))]
    return [bijection]
