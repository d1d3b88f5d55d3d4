"""What a flow is, and the one mechanism that turns a context into the parameters of its layers."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nfvae.flows.bijection import Bijection, Chain
from nfvae.networks import linear
from nfvae.numerics import full_precision
from nfvae.registry import LARGEST_SIZE, check_number, check_sizes

_DEEPEST = 1_000  # layers
Shapes = Mapping[str, Sequence[int]]


class Flow(nn.Module, ABC):
    """A module that, given the encoder's context h, returns a bijection of the latent.

    The returned bijection's forward direction is z_0 -> z_K, the sampling direction. Whatever depends on h alone is
    computed once, when the bijection is built.

    Args:
        features: D, the number of latent coordinates.
        context: C, the size of h; 0 makes the flow global, the same bijection for every image.
        depth: number of layers.

    Attributes:
        sequential: `forward` or `inverse`, the direction that goes through a layer once for each coordinate; None where
            both take one pass.
        steep: whether large parameters make slopes so small that an inverse is rounding; a test takes smaller ones.
        mixed: whether its networks take part in automatic mixed precision; its maps, as all of another flow, do not,
            since in 16 bits a flow and its inverse disagree.

    Raises:
        ValueError: for features or depth below 1, or a negative context.
    """

    sequential: ClassVar[str | None] = None
    steep: ClassVar[bool] = False
    mixed: ClassVar[bool] = False

    def __init__(self, features: int, context: int = 0, depth: int = 1) -> None:
        super().__init__()
        check_sizes(features=features)
        check_number("a flow's context", context, least=0, most=LARGEST_SIZE)
        check_number("a flow's depth", depth, least=1, most=_DEEPEST)
        check_sizes(**{"a flow's depth": depth})
        self.features, self.context, self.depth = features, context, depth

    def __call__(self, h: Tensor | None = None) -> Bijection:
        """Build the bijection as `forward` says, in full precision unless the flow is `mixed`."""
        where = None if self.mixed or not torch._C._is_any_autocast_enabled() else next(self.parameters(), h)
        with nullcontext() if where is None else full_precision(where.device):
            bijection: Bijection = super().__call__(h)
        if isinstance(bijection, Bijection):  # else `check_flow` says what it is
            bijection.batch_shape = h.shape[:-1] if self.context and h is not None else torch.Size()
        return bijection

    @abstractmethod
    def forward(self, h: Tensor | None = None) -> Bijection:
        """Build the bijection z_0 -> z_K for a context h with shape (*, C); h is ignored where C = 0."""


class Parameters(nn.Module):
    """Named tensors, affine in the context where there is one and free otherwise.

    One linear map gives all of them. At the start they are small, of standard deviation `scale` about zero.

    Args:
        shapes: the shape of each tensor by its name.
        context: C, the size of h; 0 for free tensors.
        scale: standard deviation of every entry at the start, for a context of unit variance.
    """

    def __init__(self, shapes: Shapes, context: int = 0, scale: float = 0.1) -> None:
        super().__init__()
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self.sizes = [math.prod(shape) for shape in self.shapes.values()]
        self.bias = nn.Parameter(scale * torch.randn(sum(self.sizes)))
        self.weight = nn.Parameter(scale / context**0.5 * torch.randn(sum(self.sizes), context)) if context else None

    def forward(self, h: Tensor | None) -> dict[str, Tensor]:
        """Return each tensor with shape (*, *shape), where * is the batch shape of h, or none without context.

        Args:
            h: context with shape (*, C); ignored where C = 0.

        Raises:
            ValueError: if there is a context and h is None or of another size.
        """
        return self.named(self.flat(h))

    def named(self, flat: Tensor) -> dict[str, Tensor]:
        """Cut what `flat` gives into the tensors by name."""
        values = torch.split(flat, self.sizes, -1)
        return {
            name: value.reshape(*value.shape[:-1], *shape)
            for (name, shape), value in zip(self.shapes.items(), values, strict=True)
        }

    def flat(self, h: Tensor | None) -> Tensor:
        """Return the numbers of all tensors in one, with shape (*, sum of sizes): see `forward`."""
        if self.weight is None:
            return self.bias
        return linear(check_context(h, self.weight.shape[1]), self.weight, self.bias)


def check_context(h: Tensor | None, size: int) -> Tensor:
    """Return a context with shape (*, size).

    Raises:
        ValueError: if it is None or of another size.
    """
    if h is None or h.shape[-1] != size:
        raise ValueError(f"expected a context with shape (*, {size}); got {'none' if h is None else tuple(h.shape)}")
    return h


class ParametricFlow(Flow):
    """A stack of equal layers whose bijection takes tensors: name the bijection and the shapes, and it is a flow.

    The bijection's `constrain` runs once for the whole stack, its tensors with the layers as first dimension; each
    layer is then built from its own slice, so a constructor may make constants as it likes.

    Example:
        >>> class Shift(Bijection):
        ...     def __init__(self, shift):
        ...         super().__init__()
        ...         self.shift = shift
        ...     def forward_and_log_det(self, z):
        ...         return z + self.shift, z.new_zeros(z.shape[:-1])
        ...     def inverse_and_log_det(self, y):
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
    chain: ClassVar[type[Chain]] = Chain  # of the layers
    scale: ClassVar[float] = 0.1  # of the parameters at the start, see `Parameters`

    @abstractmethod
    def shapes(self, features: int) -> Shapes:
        """Return the shape of each unconstrained tensor that the bijection's `constrain` takes, by argument name."""

    def __init__(self, features: int, context: int = 0, depth: int = 1) -> None:
        super().__init__(features, context, depth)
        stacked = {name: (depth, *shape) for name, shape in self.shapes(features).items()}
        self.head = Parameters(stacked, context, self.scale)

    def forward(self, h: Tensor | None = None) -> Bijection:  # noqa: D102
        stacks = self.head(h)
        layers_first = {name: value.movedim(-len(self.head.shapes[name]), 0) for name, value in stacks.items()}
        own = self.bijection.constrain(**layers_first)
        layers = zip(*(value.unbind() for value in own.values()), strict=True)
        return self.chain(
            [self.make_layer(layer, dict(zip(own, values, strict=True))) for layer, values in enumerate(layers)]
        )

    def make_layer(self, layer: int, own: dict[str, Any]) -> Bijection:
        """Make the bijection of a layer from what `constrain` gives for it; a subclass may add constants."""
        return self.bijection(**own)
