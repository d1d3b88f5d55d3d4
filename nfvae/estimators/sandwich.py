"""Lower and upper bounds of log p(x) of images that were simulated from the model itself."""

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nfvae.estimators.annealed import annealed_estimate, annealing_blocks, standard_error
from nfvae.estimators.annealing import Target, frozen, moves, run_chains, tune
from nfvae.estimators.streaming import Images, image_generator, map_blocks
from nfvae.models import VAE, evaluating
from nfvae.models.rows import as_condition
from nfvae.numerics import full_precision, log_mean_exp
from nfvae.registry import check_sizes


class Simulated(NamedTuple):
    """Images drawn from a model with their latents, which are exact samples of the posteriors.

    Attributes:
        x: rows of data with shape (N, P + C).
        z: latents with shape (N, D).
    """

    x: Tensor
    z: Tensor


class SandwichEstimate(NamedTuple):
    """Estimates from C forward and C backward chains for each of B images; float64, shape (B,), in nats.

    Attributes not listed here are those of `AnnealedEstimate`, from the forward chains.

    Attributes:
        upper: -log (1/C) Σ_c 1/w_c over the chains from the exact posterior, in expectation above log p(x).
        upper_error: standard error of `upper`, over chains from one start; NaN if C = 1.
    """

    log_likelihood: Tensor
    upper: Tensor
    elbo: Tensor
    kl: Tensor
    standard_error: Tensor
    upper_error: Tensor
    ess: Tensor
    mean_log_weight: Tensor
    spread: Tensor
    acceptance: Tensor
    posterior_mean: Tensor
    posterior_variance: Tensor


def simulate(model: VAE, count: int, seed: int = 0, condition: Any = None) -> Simulated:
    """Draw data from the model with their latents; each depends only on the seed and its index.

    Args:
        model: a VAE, which is evaluated in eval mode.
        count: number of data N.
        seed: random seed.
        condition: conditions with shape (C,) or (N, C), for a model that has them.

    Raises:
        ValueError: for a count below 1, or conditions that are missing or of another shape.
    """
    check_sizes(count=count)
    given = None if condition is None else as_condition(condition, count, model.spec)
    drawn = []
    with evaluating(model), torch.random.fork_rng():
        for index in range(count):
            torch.manual_seed(image_generator(seed, index, "simulated", torch.device("cpu")).initial_seed())
            own = None if given is None else given[index : index + 1]
            prior = model.prior_given(own)
            z = prior.sample(torch.Size([] if prior.batch_shape else [1]))
            drawn.append((model.decode(z, own).sample(), z))
    x, z = (torch.cat(values) for values in zip(*drawn, strict=True))
    return Simulated(x if given is None else torch.cat([x, given], 1), z)


def sandwich(
    model: VAE,
    simulated: Simulated,
    chains: int = 4,
    temperatures: int = 200,
    *,
    seed: int = 0,
    indices: Tensor | None = None,
    rows: int | None = None,
) -> SandwichEstimate:
    """Bound log p(x) from both sides, by annealed importance sampling forwards and backwards.

    The latent that generated an image is an exact sample of its posterior. The inverse of the flow maps it to noise,
    where the backward chains start; they follow the path of `annealed_log_likelihood` back to q. The gap between the
    bounds shows how far that estimator can be off for this model, on simulated images.

    Args and errors are those of `annealed_log_likelihood`.

    Args:
        model: a VAE, which is evaluated in eval mode.
        simulated: images from `simulate`.
        chains: number of chains C per image and direction.
        temperatures: number of temperatures T per chain.
        seed: random seed.
        indices: index of each image, with shape (B,); by default 0 ... B-1.
        rows: chains times images whose gradients are computed at once.

    References:
        Sandwiching the Marginal Likelihood Using Bidirectional Monte Carlo, arXiv 1511.02543.
    """
    if not isinstance(simulated, Simulated) or len(simulated.x) != len(simulated.z):
        raise ValueError(
            "sandwich takes images with the latents that made them, as nfvae.simulate(model, count) gives them"
        )
    blocks = annealing_blocks(model, simulated.x, chains, temperatures, indices, rows)
    latents = torch.split(simulated.z, [len(images.x) for images in blocks])
    both = list(zip(blocks, latents, strict=True))
    with evaluating(model), frozen(model):
        estimates = map_blocks(partial(_estimate, model, chains, temperatures, seed), both, simulated.x.device)
    return SandwichEstimate(*(torch.cat(values) for values in zip(*estimates, strict=True)))


def _estimate(model: VAE, chains: int, temperatures: int, seed: int, block: tuple[Images, Tensor]) -> SandwichEstimate:
    images, z = block
    with torch.inference_mode(False), torch.no_grad(), full_precision(images.x.device):
        target = Target.of_images(model, images)
        path = tune(target, temperatures, seed)
        forward = annealed_estimate(target, path, chains, seed)._asdict()
        start = target.posterior.to_noise(z.clone()).expand(chains, *z.shape)
        numbers = moves(target, chains, seed, "backwards")
        log_inverse = -run_chains(target, start, path, numbers, backwards=True).log_weights[-1]
    forward |= {"upper": -log_mean_exp(log_inverse), "upper_error": standard_error(log_inverse)}
    return SandwichEstimate(**{name: forward[name] for name in SandwichEstimate._fields})
