"""The likelihood of decoders that give p(x|z) themselves."""

from typing import Any

from torch import Tensor
from torch.distributions import Distribution
from typing_extensions import override

from nfvae.models.likelihoods.base import DataSpec, Likelihood


class OwnLikelihood(Likelihood):
    """The likelihood that the decoder gives: its output is the distribution p(x|z) with event shape (P,).

    Args:
        spec: form of the data; None if any are accepted.
    """

    outputs = 0

    def __init__(self, spec: DataSpec | None = None) -> None:
        super().__init__(spec)
        self.is_density = spec is not None and spec.levels is None

    @override
    def forward(self, raw: Any) -> Distribution:
        if not isinstance(raw, Distribution):
            raise ValueError(f"the likelihood own takes a decoder that gives a distribution; got {type(raw).__name__}")
        return raw

    @override
    def check(self, x: Tensor) -> None:
        if not x.isfinite().all():
            raise ValueError("expected finite numbers; got NaN or infinity")
