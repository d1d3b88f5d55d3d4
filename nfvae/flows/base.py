"""The base classes of flows, and the map from a context to the parameters of their layers."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from typing_extensions import override

from nfvae.flows.bijection import Bijection, Chain, layers_of
from nfvae.networks import linear
from nfvae.numerics import full_precision
from nfvae.registry import LARGEST_SIZE, check_number, check_sizes

_DEEPEST = 1_000  # layers
Shapes = Mapping[str, Sequence[int]]
Given = Mapping[str, Tensor]
"""Tensors that depend on the context, by name: see `Flow.given`."""


class Flow(nn.Module, ABC):
    """A module that returns a bijection of the latent for the encoder's context h.

    The returned bijection's forward direction is z_0 -> z_K, the sampling direction. A subclass writes two methods:
    `given` computes every tensor that depends on the context, once per image; `build` makes the bijection from these
    tensors alone. So users of a flow can replace these tensors, or differentiate with respect to them.

    Args:
        features: D, the number of latent coordinates.
        context: C, the size of h; 0 makes the flow global, the same bijection for every image.
        depth: number of layers.

    Attributes:
        exact: whether log-determinants are exact; if they are random or truncated, only training uses them.
        sequential: `forward` or `inverse`, the direction that computes the coordinates of a layer one by one; None if
            both take one pass.
        steep: whether large parameters make slopes so small that the inverse is lost in rounding; tests use smaller
            ones.
        mixed: whether its networks use automatic mixed precision. Maps and other flows never do, since in 16 bits a
            flow and its inverse disagree.

    Raises:
        ValueError: for features or depth below 1, or a negative context.
    """

    exact: bool = True
    sequential: str | None = None
    steep: bool = False
    mixed: bool = False

    def __init__(self, features: int, context: int = 0, depth: int = 1) -> None:
        super().__init__()
        check_sizes(features=features)
        check_number("a flow's context", context, least=0, most=LARGEST_SIZE)
        check_number("a flow's depth", depth, least=1, most=_DEEPEST)
        check_sizes(**{"a flow's depth": depth})
        self.features, self.context, self.depth = features, context, depth

    @abstractmethod
    def given(self, h: Tensor | None) -> Given:
        """Return every tensor that depends on the context, by name.

        Args:
            h: context with shape (*, C); None where C = 0.

        Returns:
            Tensors that begin with the batch shape of h; if C = 0, the same tensors without it.
        """

    @abstractmethod
    def build(self, given: Given) -> Bijection:
        """Build the bijection z_0 -> z_K from the result of `given`, or from tensors of the same names and shapes."""

    @final  # type: ignore[misc]  # torch has an attribute
    @override
    def forward(self, h: Tensor | None = None) -> Bijection:
        """Build the bijection z_0 -> z_K for a context h with shape (*, C), which is ignored where C = 0.

        Raises:
            ValueError: if there is a context and h is None or of another size.
        """
        return self.build(self.given(check_context(h, self.context)))

    @override
    def __call__(self, h: Tensor | None = None) -> Bijection:
        """Build the bijection as `forward` does, in full precision unless the flow is `mixed`."""
        with self.precision():
            bijection: Bijection = super().__call__(h)
        return bijection

    def precision(self) -> AbstractContextManager[Any]:
        """Switch automatic mixed precision off for a flow that is not `mixed`."""
        parameter = next(self.parameters(), None)
        if self.mixed or parameter is None or not torch._C._is_any_autocast_enabled():
            return nullcontext()
        return full_precision(parameter.device)


def check_context(h: Tensor | None, size: int) -> Tensor | None:
    """Return a context with shape (*, size), or None where the size is 0.

    Raises:
        ValueError: if it is None or of another size.
    """
    if not size:
        return None
    if h is None or h.shape[-1:] != (size,):
        raise ValueError(f"expected a context with shape (*, {size}); got {'none' if h is None else tuple(h.shape)}")
    return h


def check_exact(use: str, *parts: nn.Module | Bijection) -> None:
    """Refuse flows whose log-determinants are estimates.

    Args:
        use: what needs them to be exact, for the message.
        parts: bijections, or modules that contain flows.

    Raises:
        ValueError: for a flow with estimates.
    """
    for part in parts:
        for each in part.modules() if isinstance(part, nn.Module) else layers_of(part):
            if isinstance(each, Flow | Bijection) and not each.exact:
                raise ValueError(
                    f"{use} needs exact log-determinants; {type(each).__name__} estimates them: choose its option for "
                    "exact ones, or another flow"
                )


class Parameters(nn.Module):
    """Named tensors, affine in the context, or free if there is none.

    One linear map gives all of them. They start small, with standard deviation `scale` around zero.

    Args:
        shapes: the shape of each tensor by its name.
        context: C, the size of h; 0 for free tensors.
        scale: initial standard deviation of every entry, for a context of unit variance.
    """

    def __init__(self, shapes: Shapes, context: int = 0, scale: float = 0.1) -> None:
        super().__init__()
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self.sizes = [math.prod(shape) for shape in self.shapes.values()]
        self.bias = nn.Parameter(scale * torch.randn(sum(self.sizes)))
        self.weight = nn.Parameter(scale / context**0.5 * torch.randn(sum(self.sizes), context)) if context else None

    @override
    def forward(self, h: Tensor | None) -> dict[str, Tensor]:
        """Return each tensor with shape (*, *shape), where * is the batch shape of h, empty without context.

        Args:
            h: context with shape (*, C); ignored where C = 0.
        """
        if self.weight is None:
            flat: Tensor = self.bias
        else:
            assert h is not None
            flat = linear(h, self.weight, self.bias)
        values = torch.split(flat, self.sizes, -1)
        return {
            name: value.reshape(*value.shape[:-1], *shape)
            for (name, shape), value in zip(self.shapes.items(), values, strict=True)
        }


class ParametricFlow(Flow):
    """A stack of layers of one bijection: a subclass names the bijection and the shapes of its tensors.

    The bijection's `constrain` runs once for the whole stack, on tensors with the layers as first dimension. Each
    layer is then built from its own slice, so a constructor may make any constants.

    Example:
        >>> class Shift(Bijection):
        ...     def __init__(self, shift):
        ...         super().__init__(shift.shape)
        ...         self.shift = shift
        ...     def _forward_and_log_det(self, z):
        ...         return z + self.shift, z.new_zeros(z.shape[:-1])
        ...     def _inverse_and_log_det(self, y):
        ...         return y - self.shift, y.new_zeros(y.shape[:-1])
        >>> class ShiftFlow(ParametricFlow):
        ...     bijection = Shift
        ...     @staticmethod
        ...     def shapes(features):
        ...         return {"shift": (features,)}
        >>> ShiftFlow(features=2, context=3, depth=4)(torch.zeros(5, 3))(torch.zeros(5, 2)).shape
        torch.Size([5, 2])
    """

    bijection: ClassVar[type[Bijection]]
    chain: ClassVar[type[Chain]] = Chain  # class that joins the layers
    scale: ClassVar[float] = 0.1  # initial scale of the parameters, see `Parameters`

    @abstractmethod
    def shapes(self, features: int) -> Shapes:
        """Return the shape of each unconstrained tensor that the bijection's `constrain` takes, by argument name."""

    def __init__(self, features: int, context: int = 0, depth: int = 1) -> None:
        super().__init__(features, context, depth)
        stacked = {name: (depth, *shape) for name, shape in self.shapes(features).items()}
        self.head = Parameters(stacked, context, self.scale)

    @override
    def given(self, h: Tensor | None) -> Given:
        given: Given = self.head(h)
        return given

    @override
    def build(self, given: Given) -> Bijection:
        layers_first = {name: value.movedim(-len(self.head.shapes[name]), 0) for name, value in given.items()}
        own = self.bijection.constrain(**layers_first)
        layers = zip(*(value.unbind() for value in own.values()), strict=True)
        return self.chain(
            [self.make_layer(layer, dict(zip(own, values, strict=True))) for layer, values in enumerate(layers)]
        )

    def make_layer(self, layer: int, own: dict[str, Any]) -> Bijection:
        """Make a layer's bijection from its slice of `constrain`; a subclass may add constants."""
        return self.bijection(**own)
