"""Lower bounds of log p(x), computed from `LogTerms`."""

from torch import Tensor

from nfvae.models import LogTerms
from nfvae.numerics import log_mean_exp

_MARGIN = 1.0  # nats by which a mean of samples may exceed its limit


def elbo(terms: LogTerms, beta: float | Tensor = 1.0, free_bits: float = 0.0) -> Tensor:
    """Estimate the evidence lower bound with a weighted KL.

    Formula: E_q[log p(x|z)] - β max(λ, KL), averaged over samples and images. The free bits λ apply to the whole
    latent, not to each coordinate, because under a flow the KL does not split over coordinates.

    Args:
        terms: log-densities with shape (K, B), in nats.
        beta: weight β of the KL; 1 gives a lower bound of log p(x).
        free_bits: λ, nats of KL per image that are not penalized; 0 for none.

    Returns:
        The objective, a scalar in nats per image.

    References:
        Auto-Encoding Variational Bayes, arXiv 1312.6114.
        Improved Variational Inference with Inverse Autoregressive Flow (free bits), arXiv 1606.04934.
    """
    kl = terms.kl.mean()
    return terms.likelihood.mean() - beta * (kl.clamp_min(free_bits) if free_bits else kl)


def iwae(terms: LogTerms) -> Tensor:
    """Estimate the importance-weighted bound log (1/K) Σ_k w_k, averaged over images.

    Args:
        terms: log-densities with shape (K, B), in nats.

    Returns:
        The bound itself, a scalar in nats per image; its gradient needs no surrogate, as q is reparametrized.

    References:
        Importance Weighted Autoencoders, arXiv 1509.00519.
    """
    return log_mean_exp(terms.log_weight).mean()


def check_bound(name: str, value: float) -> None:
    """Refuse a bound of binary images above 0, which shows that a density is not normalized.

    Args:
        name: name of the bound, for the message.
        value: mean of the bound, in nats per image.

    Raises:
        FloatingPointError: if it is above 0 by more than sampling explains.
    """
    if value > _MARGIN:
        raise FloatingPointError(
            f"{name} is {value:.1f} nats per image, which is impossible: the log-probability of a binary image is at "
            "most 0, so that some density is wrong (a flow that is not invertible, a wrong log-determinant, or a "
            "likelihood that is no probability)"
        )
