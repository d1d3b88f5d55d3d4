"""Real numbers: independent Laplace elements."""

from torch import Tensor
from torch.distributions import Laplace as _Laplace
from typing_extensions import override

from nfvae.models.likelihoods.location_scale import LocationScale


class Laplace(LocationScale):
    """Independent Laplace elements with density exp(-|x - loc|/scale) / (2 scale)."""

    @override
    def elements(self, loc: Tensor, scale: Tensor) -> _Laplace:
        return _Laplace(loc, scale, validate_args=False)
