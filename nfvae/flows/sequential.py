"""Invert an autoregressive map at the cost of about one pass through its network.

A masked network's output for a coordinate depends on the coordinates before it, and a hidden unit of degree r on the
first r coordinates. In the order of the coordinates, every unit is computed once, as soon as its inputs are known. The
gradient goes through the same units once, in reverse order.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.flows.conditioner import Conditioner
from nfvae.flows.univariate.maker import UnivariateMaker
from nfvae.networks import MaskedMLP, linear
from nfvae.numerics import at_least_float32, first_derivative_only


def sequential_inverse(conditioner: Conditioner, y: Tensor) -> tuple[Tensor, Tensor]:
    """Solve y_i = g_i(z_i), g_i computed from the coordinates before i, differentiably (first derivatives only).

    Args:
        conditioner: conditioner with a `MaskedMLP`.
        y: points with shape (*, D), broadcast against the conditioner's bias.

    Returns:
        z and the logarithm of dz_i/dy_i, both with shape (*, D).
    """
    if torch._C._are_functorch_transforms_active():
        return _by_passes(conditioner, y)
    *hidden, last = [at_least_float32(conditioner.bias), *conditioner.biases]
    tensors = [*hidden, *conditioner.weights, last]
    z, log_slope = _SequentialInverse.apply(first_derivative_only(y), conditioner, *map(first_derivative_only, tensors))
    return z, log_slope


def _by_passes(conditioner: Conditioner, y: Tensor) -> tuple[Tensor, Tensor]:
    """Solve by one full network pass per coordinate, which every transform of `torch.func` supports."""
    network = conditioner.network
    assert isinstance(network, MaskedMLP)
    y = y.expand(*torch.broadcast_shapes(y.shape[:-1], conditioner.bias.shape[:-1]), -1)  # type: ignore[no-untyped-call]
    z, log_slope = torch.zeros_like(y), torch.zeros_like(y)
    for coordinate in network.order:
        found = conditioner(z).inverse_and_log_slope(y)
        here = torch.arange(y.shape[-1], device=y.device) == coordinate
        z, log_slope = (torch.where(here, new, old) for new, old in zip(found, (z, log_slope), strict=True))
    return z, log_slope


class _Unrolled:
    """A masked network split by the degrees of its units; all tensors have the batch last.

    Args:
        conditioner: holds the network and maps.
        tensors: biases, masked weights and last bias, as `sequential_inverse` lists them.
        batch: shape of the batch.
    """

    def __init__(self, conditioner: Conditioner, tensors: Sequence[Tensor], batch: torch.Size) -> None:
        network, depth = conditioner.network, len(conditioner.weights) - 1
        assert isinstance(network, MaskedMLP)
        self.maps, self.activation, self.batch = conditioner.maps, network.activation, batch
        self.order, self.features = list(network.order), len(network.order)
        self.place = torch.tensor(self.order).argsort()
        self.biases, self.natural_weights = tensors[:depth], tensors[depth:-1]
        self.weights = [self.natural_weights[0][:, self.order], *self.natural_weights[1:-1]]
        self.last = self.natural_weights[-1].view(-1, self.features, tensors[-2].shape[1]).transpose(0, 1)[self.order]
        last_bias = tensors[-1].view(-1, self.features).T[self.order]
        self.last_bias = last_bias.view(*last_bias.shape, *(1 for _ in batch))
        self.counts = [list(range(self.features + 1)), *network.counts()]

    def rows(self, value: Tensor) -> Tensor:
        """Put the last dimension first, before the expanded batch."""
        return value.expand(*self.batch, value.shape[-1]).movedim(-1, 0)

    def known(self, layer: int, coordinates: int) -> int:
        """Count the units of a layer that are known with so many coordinates; layer 0 is the coordinates."""
        return self.counts[layer][coordinates] if coordinates >= 0 else 0

    def new(self, layer: int, coordinates: int) -> slice:
        """Return the units of a layer that are known with so many coordinates, but not with one less."""
        return slice(self.known(layer, coordinates - 1), self.known(layer, coordinates))

    def product(self, weight: Tensor, units: Tensor) -> Tensor:
        """Multiply a matrix and units with shape (n, *batch)."""
        return (weight @ units.reshape(len(units), math.prod(self.batch))).view(len(weight), *self.batch)

    def solve(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Solve the coordinates in order; return z and log dz/dy, both with shape (*, D)."""
        targets, biases = self.rows(y), [self.rows(bias) for bias in self.biases]
        units = [y.new_empty(len(rows), *self.batch) for rows in (targets, *biases)]
        log_slope = torch.empty_like(units[0])
        for place, coordinate in enumerate(self.order):
            for layer, (weight, bias) in enumerate(zip(self.weights, biases, strict=True), start=1):
                new = self.new(layer, place)
                if new.start < new.stop:
                    below = units[layer - 1][: self.known(layer - 1, place)]
                    units[layer][new] = self.activation(self.product(weight[new, : len(below)], below) + bias[new])
            below = units[-1][: self.known(-1, place)]
            values = self.product(self.last[place, :, : len(below)], below) + self.last_bias[place]
            map = self.maps(values.movedim(0, -1).unsqueeze(-1))
            found = map.inverse_and_log_slope(targets[coordinate].unsqueeze(-1))
            units[0][place], log_slope[coordinate] = found[0].squeeze(-1), found[1].squeeze(-1)
        return units[0][self.place].movedim(0, -1), log_slope.movedim(0, -1)

    def back_substitute(
        self, partials: "_Partials", slopes: Sequence[Tensor], grad_z: Tensor, grad_log_slope: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Go through the coordinates backwards; return the gradients of y, of the maps' numbers and of hidden units.

        Args:
            partials: derivatives of the maps at the solution.
            slopes: slopes of the activation at each hidden layer with shape (*, width).
            grad_z: gradient of z with shape (*, D).
            grad_log_slope: gradient of log dz/dy with shape (*, D).
        """
        grad_z = self.rows(grad_z - grad_log_slope * partials.log_slope_by_z)
        direct = self.numbers(grad_log_slope.unsqueeze(-2) * partials.log_slope_by_numbers)
        by_numbers, slope = self.numbers(partials.y_by_numbers), self.rows(partials.slope)
        slopes = [self.rows(each) for each in slopes]
        grad_y, grad_numbers = torch.empty_like(grad_z), torch.empty_like(direct)
        grads = [grad_z, *(torch.empty_like(each) for each in slopes)]
        for place in range(self.features - 1, -2, -1):
            for layer in range(len(slopes), 0, -1):
                new = self.new(layer, place + 1)
                if new.start == new.stop:
                    continue
                if layer == len(slopes):
                    weight, above = (
                        self.last[place + 1 :, :, new].flatten(0, 1),
                        grad_numbers[place + 1 :].flatten(0, 1),
                    )
                else:
                    start = self.known(layer + 1, place)
                    weight, above = self.weights[layer][start:, new], grads[layer + 1][start:]
                grads[layer][new] = self.product(weight.T, above) * slopes[layer - 1][new]
            if place >= 0:
                start, coordinate = self.known(1, place), self.order[place]
                through = self.product(self.weights[0][start:, place : place + 1].T, grads[1][start:])
                grad_y[coordinate] = (grad_z[coordinate] + through[0]) / slope[coordinate]
                grad_numbers[place] = -grad_y[coordinate] * by_numbers[place] - direct[place]
        grad_numbers = grad_numbers[self.place].movedim((0, 1), (-1, -2)).flatten(-2)
        return grad_y.movedim(0, -1), grad_numbers, [each.movedim(0, -1) for each in grads[1:]]

    def numbers(self, value: Tensor) -> Tensor:
        """Put the maps' numbers with shape (*, count, D) in the order of the coordinates: (D, count, *)."""
        return value.movedim((-1, -2), (0, 1))[self.order]


class _Partials(NamedTuple):
    """Derivatives of each coordinate's map by the coordinate and by the map's numbers."""

    slope: Tensor
    y_by_numbers: Tensor
    log_slope_by_z: Tensor
    log_slope_by_numbers: Tensor


def _partials(maps: UnivariateMaker, z: Tensor, numbers: Tensor) -> _Partials:
    """Differentiate the maps at z with shape (*, D), made of numbers with shape (*, count, D)."""
    with torch.enable_grad():
        z, numbers = z.detach().requires_grad_(), numbers.detach().requires_grad_()
        y, log_slope = maps(numbers).forward_and_log_slope(z)
        by = (z, numbers)
        first = torch.autograd.grad(y.sum(), by, retain_graph=True, materialize_grads=True)
        if not log_slope.requires_grad:
            return _Partials(first[0], first[1], torch.zeros_like(z), torch.zeros_like(numbers))
        second = torch.autograd.grad(log_slope.sum(), by, materialize_grads=True)
        return _Partials(first[0], first[1], second[0], second[1])


def _evaluate(unrolled: _Unrolled, z: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Return the units of all layers, z first, and the slopes of hidden units, each with shape (*, width)."""
    units, slopes = [z], []
    for weight, bias in zip(unrolled.natural_weights[:-1], unrolled.biases, strict=True):
        with torch.enable_grad():
            before = linear(units[-1], weight, bias).detach().requires_grad_()
            after = unrolled.activation(before.clone())  # some activations overwrite their input
            slopes.append(torch.autograd.grad(after.sum(), before)[0])
        units.append(after.detach())
    return units, slopes


class _SequentialInverse(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    @override
    def forward(y: Tensor, conditioner: Conditioner, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        batch = torch.broadcast_shapes(y.shape[:-1], conditioner.bias.shape[:-1])  # type: ignore[no-untyped-call]
        return _Unrolled(conditioner, tensors, batch).solve(y)

    @staticmethod
    @override
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        y, ctx.conditioner, *tensors = inputs
        ctx.y_shape = y.shape
        ctx.save_for_backward(output[0], *tensors)

    @staticmethod
    @torch.autograd.function.once_differentiable
    @override
    def backward(ctx: Any, grad_z: Tensor, grad_log_slope: Tensor) -> tuple[Tensor | None, ...]:
        z, *tensors = ctx.saved_tensors
        unrolled = _Unrolled(ctx.conditioner, tensors, z.shape[:-1])
        units, slopes = _evaluate(unrolled, z)
        numbers = linear(units[-1], tensors[-2], tensors[-1]).view(*z.shape[:-1], unrolled.maps.count, z.shape[-1])
        partials = _partials(unrolled.maps, z, numbers)
        grad_y, grad_numbers, grad_hidden = unrolled.back_substitute(partials, slopes, grad_z, grad_log_slope)
        grad_biases = [grad.sum_to_size(bias.shape) for grad, bias in zip(grad_hidden, unrolled.biases, strict=True)]
        flat = [grad.reshape(-1, grad.shape[-1]) for grad in (*grad_hidden, grad_numbers)]
        grad_weights = [grad.T @ unit.reshape(-1, unit.shape[-1]) for grad, unit in zip(flat, units, strict=True)]
        return grad_y.sum_to_size(ctx.y_shape), None, *grad_biases, *grad_weights, flat[-1].sum(0)
