"""Real numbers: independent Gaussian elements."""

from torch import Tensor
from torch.distributions import Normal
from typing_extensions import override

from nfvae.models.likelihoods.location_scale import LocationScale


class Gaussian(LocationScale):
    """Independent Gaussian elements N(loc, scale²).

    References:
        Auto-Encoding Variational Bayes, arXiv 1312.6114.
    """

    @override
    def elements(self, loc: Tensor, scale: Tensor) -> Normal:
        return Normal(loc, scale, validate_args=False)
