"""The mixture-of-logistics map of Flow++."""

from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from nfvae.flows.univariate.affine import Affine
from nfvae.flows.univariate.base import Shapes, Univariate
from nfvae.flows.univariate.mixture import SigmoidMixture
from nfvae.numerics import bounded


class LogisticMixture(Univariate):
    """The distribution function of a mixture of logistics, its logit scaled and shifted (equation 10 of the reference).

    - *Forward*: y = a logit(Σ w_k sigmoid((z - m_k)/s_k)) + b.
    - *Log-slope*: that of the logit (see `SigmoidMixture`) plus log a.
    - *Inverse*: the affine map undone, then the root of the logit in an exact bracket.
    - *Constraint*: w by a softmax; log s_k and log a within ±bound, by a tanh.

    Args:
        weights: scores of w with shape (*, K, D).
        means: m with shape (*, K, D).
        scales: unbounded log s with shape (*, K, D).
        shift: b with shape (*, D).
        score: unbounded log a with shape (*, D).
        bound: largest |log s| and |log a|, positive.

    Raises:
        ValueError: for a bound that is not positive.

    References:
        Flow++: Improving Flow-Based Generative Models, arXiv 1902.00275.
    """

    steep: bool = True

    def __init__(
        self, weights: Tensor, means: Tensor, scales: Tensor, shift: Tensor, score: Tensor, bound: float = 3.0
    ) -> None:
        self.affine = Affine(shift, score, bound)
        log_slope = -bounded(scales, bound)
        self.mixture = SigmoidMixture(functional.log_softmax(weights, -2), log_slope, -means * log_slope.exp())

    @staticmethod
    @override
    def shapes(components: int = 8) -> Shapes:
        return {
            **{"weights": (components,), "means": (components,), "scales": (components,)},
            **{"shift": (), "score": ()},
        }

    @override
    def forward_and_log_slope(self, z: Tensor) -> tuple[Tensor, Tensor]:
        logit, log_slope = self.mixture.forward_and_log_slope(z)
        y, log_scale = self.affine.forward_and_log_slope(logit)
        return y, log_slope + log_scale

    @override
    def inverse_and_log_slope(self, y: Tensor) -> tuple[Tensor, Tensor]:
        logit, log_scale = self.affine.inverse_and_log_slope(y)
        z, log_slope = self.mixture.inverse_and_log_slope(logit)
        return z, log_slope + log_scale
