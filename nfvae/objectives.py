"""What training maximises, computed from `LogTerms`."""

from torch import Tensor

from nfvae.numerics import log_mean_exp
from nfvae.vae import LogTerms


def elbo(terms: LogTerms, beta: float | Tensor = 1.0, free_bits: float = 0.0) -> Tensor:
    """Estimate the evidence lower bound, its KL weighted (Kingma & Welling, 2014; Higgins et al., 2017).

    Formula: E_q[log p(x|z)] - β max(λ, KL), averaged over samples and images. The free bits λ (Kingma et al., 2016) are
    granted to the whole latent at once, not to each coordinate: under a flow the KL does not split over coordinates.

    Args:
        terms: log-densities with shape (K, B), in nats.
        beta: weight β of the KL; 1 gives a lower bound of log p(x).
        free_bits: λ, nats an image of KL that cost the same as none at all; 0 for none.

    Returns:
        The objective, a scalar in nats per image.
    """
    kl = terms.kl.mean()
    return terms.likelihood.mean() - beta * (kl.clamp_min(free_bits) if free_bits else kl)


def iwae(terms: LogTerms) -> Tensor:
    """Estimate the importance-weighted bound log (1/K) Σ_k w_k, averaged over images (Burda et al., 2016).

    Args:
        terms: log-densities with shape (K, B), in nats.

    Returns:
        The bound itself, a scalar in nats per image; its gradient needs no surrogate, as q is reparametrised.
    """
    return log_mean_exp(terms.log_weight).mean()


def beta_at(schedule: str, step: int, epoch: float, warmup_epochs: int = 0, beta: float = 1.0) -> float:
    """Return the KL weight β in force.

    - `constant`: β.
    - `linear`: β min(1, t/T), t the time in epochs, batches counted as fractions, and T the epochs of warm-up.
    - `rezende`: β min(1, 0.01 + t/10000), t the step (Rezende & Mohamed, 2015). The paper weighs log p(x, z)
      with it, log p(x|z) included; here it weighs the KL, as the other schedules do.

    Args:
        schedule: one of the names above.
        step: optimizer steps done.
        epoch: epochs done, with fractions.
        warmup_epochs: T of `linear`.
        beta: the final weight.

    Raises:
        ValueError: for an unknown schedule.
    """
    if schedule == "constant":
        return beta
    if schedule == "linear":
        return beta * min(1.0, epoch / warmup_epochs) if warmup_epochs else beta
    if schedule == "rezende":
        return beta * min(1.0, 0.01 + step / 10_000)
    raise ValueError(f"unknown beta schedule {schedule!r}; known schedules: constant, linear, rezende")
