"""The gate of the inverse autoregressive flow, which only narrows."""

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.flows.univariate.base import ScaleAndShift, Shapes
from nfvae.registry import check_number

_LARGEST_BIAS = 100.0  # beyond it a gate is open or closed at any score


class Gate(ScaleAndShift):
    """Move towards m as far as a gate is closed (algorithm 1 of the reference).

    - *Constraint*: a = floor + (1 - floor) sigmoid(s + bias) and b = (1 - a) m, so that the map only narrows; the
      floor, which bounds the inverse's 1/a, is not in the paper.

    Zeros do not give the identity: they narrow z by sigmoid(bias), 0.88 by default.

    Args:
        mean: m with shape (*, D).
        score: s with shape (*, D).
        bias: added to s, between -100 and 100; positive values start the gates near 1.
        floor: smallest gate, in [0, 1).

    Raises:
        ValueError: for a floor outside [0, 1), or a bias out of range.

    References:
        Improved Variational Inference with Inverse Autoregressive Flow, arXiv 1606.04934.
    """

    def __init__(self, mean: Tensor, score: Tensor, bias: float = 2.0, floor: float = 1e-3) -> None:
        check_number("a gate's bias", bias, least=-_LARGEST_BIAS, most=_LARGEST_BIAS)
        check_number("a gate's floor", floor)
        if not 0 <= floor < 1:
            raise ValueError(f"a gate's floor must be in [0, 1); got {floor}")
        self.scale = floor + (1 - floor) * torch.sigmoid(score + bias)
        self.log_scale = self.scale.log()
        self.shift = torch.addcmul(mean, self.scale, mean, value=-1)

    @staticmethod
    @override
    def shapes() -> Shapes:
        return {"mean": (), "score": ()}
