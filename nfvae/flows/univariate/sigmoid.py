"""The deep sigmoid map of neural autoregressive flows."""

from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from nfvae.flows.univariate.base import Shapes, Univariate
from nfvae.flows.univariate.mixture import SigmoidMixture
from nfvae.numerics import bounded
from nfvae.registry import check_number


class DeepSigmoid(SigmoidMixture, Univariate):
    """One layer with positive weights (equation 8 of the reference): y = logit(Σ w_k sigmoid(a_k z + b_k)).

    The four bullets are those of `SigmoidMixture`, except

    - *Constraint*: w by a softmax, a_k = exp(bound tanh(s_k/bound)), where the reference has a softplus: zeros are the
      identity, and no unit is flat or steep beyond bound.

    Args:
        weights: scores of w with shape (*, K, D).
        scores: s with shape (*, K, D).
        offsets: b with shape (*, K, D).
        bound: largest |log a|, positive.

    Raises:
        ValueError: for a bound that is not positive.

    References:
        Neural Autoregressive Flows, arXiv 1804.00779.
    """

    def __init__(self, weights: Tensor, scores: Tensor, offsets: Tensor, bound: float = 3.0) -> None:
        check_number("bound", bound, above=0)
        super().__init__(functional.log_softmax(weights, -2), bounded(scores, bound), offsets)

    @staticmethod
    @override
    def shapes(units: int = 8) -> Shapes:
        return {"weights": (units,), "scores": (units,), "offsets": (units,)}
