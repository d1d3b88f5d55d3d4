"""Glow for vectors."""

from typing import Any

from torch import nn
from typing_extensions import override

from nfvae.flows.actnorm import ActNorm
from nfvae.flows.base import Given
from nfvae.flows.bijection import Chain
from nfvae.flows.coupling import UnivariateCoupling
from nfvae.flows.linear import LinearFlow


class Glow(UnivariateCoupling):
    """Steps of activation normalization, a matrix and a coupling (section 3 of the reference), for vectors.

    The context enters the couplings; scales, shifts and matrices are global.

    Args:
        features: D, the number of latent coordinates.
        context: C, the size of h; 0 makes the flow global.
        depth: number of steps.
        permutation: order after each matrix: see `LinearFlow`.
        start: initial scale and shift: see `ActNorm`.
        options: arguments of `UnivariateCoupling`: `univariate`, `mask`, `hidden`, `hidden_layers`, `activation`,
            `univariate_options`.

    Raises:
        ValueError: for sizes below 1, an unknown name or option, or a value that the map refuses.

    References:
        Glow: Generative Flow with Invertible 1x1 Convolutions, arXiv 1807.03039.
    """

    steep: bool = True  # the matrices stretch what the couplings see

    def __init__(
        self,
        features: int,
        context: int = 0,
        depth: int = 1,
        permutation: str = "identity",
        start: str = "identity",
        **options: Any,
    ) -> None:
        super().__init__(features, context, depth, **options)
        self.norms = nn.ModuleList(ActNorm(features, start=start) for _ in range(depth))
        self.matrices = nn.ModuleList(LinearFlow(features, permutation=permutation) for _ in range(depth))

    @override
    def build(self, given: Given) -> Chain:
        steps = zip(self.norms, self.matrices, super().build(given).parts, strict=True)
        return Chain([part for norm, matrix, coupling in steps for part in (norm(), matrix(), coupling)])
