"""Split the gap between evidence and ELBO: the family is too small, or the encoder misses its best member."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nfvae.estimators.annealed import annealed_log_likelihood
from nfvae.estimators.streaming import image_generator, places
from nfvae.flows import FlowDistribution, Given
from nfvae.models import VAE, Encoding, Posterior, evaluating
from nfvae.numerics import double, full_precision
from nfvae.registry import check_choice, check_number

_SAMPLES = 10  # per image and step
_STEPS = 200  # per round, after which the ELBO is checked to have settled
_RATES = 1e-2, 1e-3  # learning rates of Adam, each used until the ELBO has settled
_SETTLED = 0.02  # nats that a round must gain to be followed by another
_MOST_ROUNDS = 50  # per learning rate
_CHECK, _FINAL = 200, 1_000  # samples to check whether the ELBO has settled, and for its final value
_RANDOM_SPREAD, _RANDOM_LOG_SCALE = 0.1, -1.0  # for random starts, whose loc is standard normal


class Freedom(NamedTuple):
    """The tensors that are optimized for each image instead of computed by the encoder.

    Attributes:
        start: posterior, encoding -> these tensors by name, with B as first dimension.
        build: posterior, these tensors -> q(z|x).
    """

    start: Callable[[Posterior, Encoding], Given]
    build: Callable[[Posterior, Given], FlowDistribution]


FREE = {
    "layers": Freedom(Posterior.given, Posterior.build),
    "context": Freedom(
        lambda _, encoding: encoding._asdict(),
        lambda posterior, free: posterior.build(posterior.given(Encoding(**free))),
    ),
}
"""The tensors that can be set free: all inputs of the layers, or only the encoder's output."""


class GapEstimate(NamedTuple):
    """The parts of the gap between evidence and ELBO for each of B images; float64, shape (B,), in nats.

    log_likelihood - elbo = approximation + amortization, exactly.

    Attributes:
        log_likelihood: log p̂(x) by annealed importance sampling.
        elbo: ELBO of the amortized posterior.
        elbo_best: ELBO of the best posterior of the family that was found for this image.
        approximation: log_likelihood - elbo_best, the loss due to the family.
        amortization: elbo_best - elbo, the loss due to the encoder.
        best_start: index of the start with the best result: 0 for the amortized one, then the random ones.
        rounds: number of rounds of 200 steps each until the ELBO had settled.
        standard_error: standard error of `log_likelihood`, over chains.
    """

    log_likelihood: Tensor
    elbo: Tensor
    elbo_best: Tensor
    approximation: Tensor
    amortization: Tensor
    best_start: Tensor
    rounds: Tensor
    standard_error: Tensor


def inference_gaps(
    model: VAE,
    x: Tensor,
    chains: int = 4,
    temperatures: int = 200,
    *,
    starts: int = 2,
    free: str = "layers",
    seed: int = 0,
    indices: Tensor | None = None,
) -> GapEstimate:
    """Split log p(x) - ELBO into an approximation gap and an amortization gap.

    For each image, some tensors are free. They maximize the image's ELBO until it has settled, from the encoder's
    values and from random starts. Tensors that all images share, such as the weights of an autoregressive network,
    stay fixed. There are two definitions of the family's best posterior:

    - `layers`: loc, log_scale and every tensor that the flow computes from its context, `flow.given(h)`, are free. The
      best posterior is the best that the layers can represent.
    - `context`: loc, log_scale and the context h are free. The best posterior is the best that any encoder could reach;
      the limits of the flow's own heads count as approximation gap.

    Args:
        model: a VAE, which is evaluated in eval mode.
        x: binarized images with shape (B, P) or (B, height, width), in a tensor, an array or a list.
        chains: number of chains of the annealed importance sampling that estimates log p(x).
        temperatures: number of temperatures of each chain.
        starts: number of random starts besides the amortized one.
        free: free tensors: `layers` or `context`.
        seed: random seed.
        indices: index of each image in its data set, with shape (B,); by default 0 ... B-1.

    Raises:
        ValueError: for numbers out of range, an unknown `free`, a flow whose log-determinant is not exact, or images of
            another size or not binary.

    References:
        Inference Suboptimality in Variational Autoencoders, arXiv 1801.03558.
    """
    check_number("starts", starts, least=0)
    check_choice("free tensor", free, FREE)
    x = model.as_data(x)
    evidence = annealed_log_likelihood(model, x, chains, temperatures, seed=seed, indices=indices)
    log_likelihood = evidence.log_likelihood
    with evaluating(model), torch.inference_mode(False), torch.no_grad(), full_precision(x.device):
        fit = _LocalFit(model, x.clone(), FREE[free], seed, places(x, indices))
        elbo, best, start, rounds = fit.gap(starts)
    gaps = log_likelihood - best, best - elbo
    return GapEstimate(log_likelihood, elbo, best, *gaps, start, rounds, evidence.standard_error)


class _LocalFit:
    """The ELBO of some images as a function of free tensors that replace the encoder's values.

    Args:
        model: a VAE, which is evaluated in eval mode.
        x: images with shape (B, P), as the model takes them.
        freedom: the free tensors.
        seed: random seed.
        indices: index of each image in its data set.
    """

    def __init__(self, model: VAE, x: Tensor, freedom: Freedom, seed: int, indices: list[int]) -> None:
        self.model, self.x, self.freedom, self.seed, self.indices = model, x, freedom, seed, indices
        self.posterior, self.all = model.posterior, torch.arange(len(x), device=x.device)
        self.encoded = dict(freedom.start(self.posterior, self.posterior.encode(x)))

    def gap(self, starts: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the amortized ELBO, the best ELBO, the index of its start and its number of rounds."""
        found = [self.best(self.start(number)) for number in range(1 + starts)]
        best, start = torch.stack([self.elbo(free, _FINAL) for free, _ in found]).max(0)
        rounds = torch.stack([rounds for _, rounds in found]).gather(0, start[None])[0]
        return self.elbo(self.start(0), _FINAL), best, double(start), rounds

    def start(self, number: int) -> Given:
        """Return the free tensors to start from: the encoder's values for number 0, else random ones."""
        if not number:
            return self.encoded
        sources = self.sources(self.all, f"start {number}")
        free = {name: _RANDOM_SPREAD * _normal(sources, value.shape[1:], value) for name, value in self.encoded.items()}
        return free | {
            "loc": free["loc"] / _RANDOM_SPREAD,
            "log_scale": free["log_scale"] + _RANDOM_LOG_SCALE,
        }

    def elbo(self, free: Given, samples: int, which: Tensor | None = None) -> Tensor:
        """Estimate the ELBO of some images in float64; the noise depends only on the image and the number of samples.

        Args:
            free: free tensors of these images.
            samples: number of samples per image.
            which: indices of the images in the batch; by default all.
        """
        which = self.all if which is None else which
        sources = self.sources(which, f"of {samples}")
        parts = [double(self.log_weight(free, which, sources)).sum(0) for _ in range(0, samples, _SAMPLES)]
        return torch.stack(parts).sum(0) / (len(parts) * _SAMPLES)

    def best(self, free: Given) -> tuple[Given, Tensor]:
        """Maximize the ELBO from a start; also return the number of rounds of each image, with shape (B,)."""
        free, reached = {name: value.clone() for name, value in free.items()}, self.elbo(free, _CHECK)
        rounds = torch.zeros_like(reached)
        for rate in _RATES:
            moving = self.all
            for number in range(_MOST_ROUNDS):
                start = {name: value[moving] for name, value in free.items()}
                tried = self._round(start, moving, rate, f"steps {rate} {number}")
                now = self.elbo(tried, _CHECK, moving)
                gain = now - reached[moving]
                rounds[moving] += 1
                for name, value in tried.items():
                    free[name][moving[gain > 0]] = value[gain > 0]
                reached[moving[gain > 0]] = now[gain > 0]
                moving = moving[gain > _SETTLED]
                if not len(moving):
                    break
        return free, rounds

    def _round(self, free: Given, which: Tensor, rate: float, purpose: str) -> Given:
        """Optimize the free tensors of some images for one round, and return the result."""
        free = {name: value.clone().requires_grad_() for name, value in free.items()}
        optimizer, sources = torch.optim.Adam(free.values(), rate), self.sources(which, purpose)
        with torch.enable_grad():
            for _ in range(_STEPS):
                optimizer.zero_grad()
                loss = -self.log_weight(free, which, sources).mean(0).sum()
                loss.backward(inputs=list(free.values()))  # type: ignore[no-untyped-call]
                optimizer.step()
        return {name: value.detach() for name, value in free.items()}

    def log_weight(self, free: Given, which: Tensor, sources: Sequence[torch.Generator]) -> Tensor:
        """Return log p(x, z) - log q(z) of some samples of each image, with shape (samples, images)."""
        posterior = self.freedom.build(self.posterior, free)
        noise = _normal(sources, (_SAMPLES, free["loc"].shape[-1]), free["loc"]).transpose(0, 1)
        return self.model.log_terms(self.x[which], posterior.from_noise(noise)).log_weight

    def sources(self, which: Tensor, purpose: str) -> list[torch.Generator]:
        indices = [self.indices[place] for place in which.tolist()]
        return [image_generator(self.seed, index, f"gap {purpose}", self.x.device) for index in indices]


def _normal(sources: Sequence[torch.Generator], shape: Sequence[int], like: Tensor) -> Tensor:
    """Return standard normal noise with shape (B, *shape), from one generator per image."""
    return torch.stack(
        [torch.randn(tuple(shape), generator=source, dtype=like.dtype, device=like.device) for source in sources]
    )
