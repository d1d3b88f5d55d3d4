"""Guards against wrong derivatives."""

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override


def first_derivative_only(value: Tensor) -> Tensor:
    """Return the tensor unchanged; a second derivative through it raises instead of being wrong."""
    only: Tensor = _FirstDerivativeOnly.apply(value)
    return only


class _FirstDerivativeOnly(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    @override
    def forward(value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    @override
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    @override
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        return tangent.view_as(tangent)

    @staticmethod
    @override
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        gradient: Tensor = _NoDerivative.apply(grad, *ctx.saved_tensors) if torch.is_grad_enabled() else grad
        return gradient


class _NoDerivative(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    @override
    def forward(grad: Tensor, value: Tensor) -> Tensor:
        return grad.view_as(grad)

    @staticmethod
    @override
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    @override
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        raise NotImplementedError("an inverse that is found step by step has first derivatives only")
