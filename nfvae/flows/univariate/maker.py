"""Make univariate maps from the numbers that parametrize them."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nfvae.flows.univariate import UNIVARIATES, Univariate
from nfvae.registry import check_mapping, check_options, check_sizes, options_of


class UnivariateMaker:
    """Make univariate maps of one kind from unconstrained numbers.

    Args:
        name: name in `UNIVARIATES`, or "package.module:Class" of your own.
        options: further arguments of the map's class and its `shapes`.

    Attributes:
        count: number of parameters of one coordinate's map.

    Raises:
        ValueError: for an unknown name or option, or a value that the map refuses.

    Example:
        >>> spline = UnivariateMaker("spline", {"bins": 4})
        >>> spline(torch.zeros(10, spline.count, 3)).forward_and_log_slope(torch.ones(10, 3))[0].shape
        torch.Size([10, 3])
    """

    def __init__(self, name: str, options: Mapping[str, Any] | None = None) -> None:
        self.kind, options = UNIVARIATES.load(name), check_mapping("univariate_options", options)
        sizes = options_of(self.kind.shapes)
        tensors = list(self.kind.shapes())
        known = [*sizes, *(option for option in options_of(self.kind) if option not in tensors)]
        check_options("univariate map", name, options, known)
        chosen = {size: options[size] for size in sizes if size in options}
        check_sizes(**chosen)
        self.shapes = self.kind.shapes(**chosen)
        self.options = {option: value for option, value in options.items() if option not in sizes}
        self.count = sum(math.prod(shape) for shape in self.shapes.values())
        zero = {tensor: torch.zeros(*shape, 1) for tensor, shape in self.shapes.items()}
        UNIVARIATES.make(name, self.options, **zero)  # refuses invalid values before the first step

    def __call__(self, values: Tensor) -> Univariate:
        """Make the maps of D coordinates from numbers with shape (*, count, D)."""
        return self.kind.from_flat(values, self.shapes, **self.options)
