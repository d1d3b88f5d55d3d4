"""Linear layers, whose float32 products use all of a processor's width."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_LEAST = 2**24  # multiplications from which the detour pays
_CPU_INFO = Path("/proc/cpuinfo")


class Linear(nn.Linear):
    """PyTorch's linear layer by `linear`."""

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x Wᵀ + b.

    PyTorch multiplies float32 matrices by MKL, which leaves half of the width of AMD's processors with AVX-512 unused;
    oneDNN, which PyTorch brings too, takes half of the time there, at the same precision.

    Args:
        x: with shape (*, inputs).
        weight: W with shape (outputs, inputs).
        bias: b with shape (*, outputs), broadcast against x's batch.
    """
    if bias is not None and (bias.ndim > x.ndim or bias.numel() != bias.shape[-1]):
        return linear(x, weight) + bias
    bias = bias.flatten() if bias is not None else None
    if not _pays(x, weight):
        return functional.linear(x, weight, bias)
    product: Tensor = _Product.apply(_dense(x.reshape(-1, x.shape[-1])), _dense(weight), bias)
    return product.view(*x.shape[:-1], len(weight))


def _pays(x: Tensor, weight: Tensor) -> bool:
    return (
        _HALF_IS_UNUSED
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == "cpu"
        and x.numel() * len(weight) >= _LEAST
        and not torch.is_autocast_enabled("cpu")
    )


def _dense(matrix: Tensor) -> Tensor:
    """Return a matrix without gaps, of which oneDNN makes a detour of its own, five to fifty times as slow."""
    return matrix if matrix.is_contiguous() or matrix.T.is_contiguous() else matrix.contiguous()


def _half_is_unused() -> bool:
    """Tell whether the processor has AVX-512, and MKL does not use it."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return _CPU_INFO.is_file() and "AuthenticAMD" in _CPU_INFO.read_text()


_HALF_IS_UNUSED = _half_is_unused()


@torch.library.custom_op("nfvae::product", mutates_args=())
def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Ask oneDNN, as an operation that PyTorch's compiler leaves alone: its own takes constant weights only."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


@_product.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(len(x), len(weight))


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        product: Tensor = _product(x, weight, bias)
        return product

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
        x, weight, _ = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        by_x, by_weight, by_bias = ctx.needs_input_grad
        narrow = len(weight) < weight.shape[1]  # oneDNN is quicker with fewer rows on the left
        return (
            linear(grad, weight.T) if by_x else None,
            (linear(grad.T, x.T) if narrow else linear(x.T, grad.T).T) if by_weight else None,
            grad.sum(0) if by_bias else None,
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *given: Any) -> tuple[Tensor, int]:
        return torch.vmap(functional.linear, in_dims)(*given), 0
