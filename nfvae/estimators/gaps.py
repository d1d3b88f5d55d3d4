"""Why a posterior misses the evidence: its family is too small, or its encoder does not find the best of it."""

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

_SAMPLES = 10  # of an image and step
_STEPS = 200  # of a round, after which it is seen whether the ELBO has settled
_RATES = 1e-2, 1e-3  # of Adam, each until the ELBO has settled
_SETTLED = 0.02  # nats that a round has to bring
_MOST_ROUNDS = 50  # of a rate
_CHECK, _FINAL = 200, 1_000  # samples that say whether the ELBO has settled, and what it is
_RANDOM_SPREAD, _RANDOM_LOG_SCALE = 0.1, -1.0  # of a random start, whose loc is standard normal


class Freedom(NamedTuple):
    """Which tensors are optimized for each image in place of what the encoder gives.

    Attributes:
        start: a posterior, an encoding -> these tensors by name, each with B first.
        build: a posterior, such tensors -> q(z|x).
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
"""What the gap sets free: all that the layers are given, or what the encoder gives alone."""


class GapEstimate(NamedTuple):
    """Where the distance between the evidence and the ELBO comes from, of each of B images; float64, shape (B,), nats.

    log_likelihood - elbo = approximation + amortization, exactly.

    Attributes:
        log_likelihood: log p̂(x) by annealed importance sampling.
        elbo: of the amortized posterior.
        elbo_best: of the best posterior of the family that was found for this image.
        approximation: log_likelihood - elbo_best: what the family cannot do.
        amortization: elbo_best - elbo: what the encoder does not find.
        best_start: which start gave the best one: 0 for the amortized one, then the random ones.
        rounds: of 200 steps each until it had settled.
        standard_error: of `log_likelihood`, over chains.
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

    For each image, some tensors become free. They maximize the image's ELBO until it has settled, from where the
    encoder puts them and from random starts. Tensors that are the same for all images, as the weights of an
    autoregressive network, stay as they are. There are two definitions of the family's best posterior:

    - `layers`: loc, log_scale and every tensor that the flow computes from its context, `flow.given(h)`, are free. The
      best posterior is the best that the layers could be.
    - `context`: loc, log_scale and the context h are free. The best posterior is the best that any encoder could reach,
      and what a flow's own heads cannot make of a context counts as approximation.

    Args:
        model: a VAE, which is evaluated in eval mode.
        x: binarized images with shape (B, P) or (B, height, width), in a tensor, an array or a list.
        chains: of the annealed importance sampling that gives log p(x).
        temperatures: of each chain.
        starts: how many random starts beside the amortized one.
        free: `layers` or `context`.
        seed: of all noise.
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
    """The ELBO of some images as a function of free tensors in place of what the encoder gives.

    Args:
        model: a VAE, which is evaluated in eval mode.
        x: images with shape (B, P), as the model takes them.
        freedom: which tensors are free.
        seed: of the noise.
        indices: of the images in their data set.
    """

    def __init__(self, model: VAE, x: Tensor, freedom: Freedom, seed: int, indices: list[int]) -> None:
        self.model, self.x, self.freedom, self.seed, self.indices = model, x, freedom, seed, indices
        self.posterior, self.all = model.posterior, torch.arange(len(x), device=x.device)
        self.encoded = dict(freedom.start(self.posterior, self.posterior.encode(x)))

    def gap(self, starts: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the amortized ELBO, the best one, from which start it was reached and in how many rounds."""
        found = [self.best(self.start(number)) for number in range(1 + starts)]
        best, start = torch.stack([self.elbo(free, _FINAL) for free, _ in found]).max(0)
        rounds = torch.stack([rounds for _, rounds in found]).gather(0, start[None])[0]
        return self.elbo(self.start(0), _FINAL), best, double(start), rounds

    def start(self, number: int) -> Given:
        """Return the free tensors to start from: those that the encoder gives for number 0, else random ones."""
        if not number:
            return self.encoded
        sources = self.sources(self.all, f"start {number}")
        free = {name: _RANDOM_SPREAD * _normal(sources, value.shape[1:], value) for name, value in self.encoded.items()}
        return free | {
            "loc": free["loc"] / _RANDOM_SPREAD,
            "log_scale": free["log_scale"] + _RANDOM_LOG_SCALE,
        }

    def elbo(self, free: Given, samples: int, which: Tensor | None = None) -> Tensor:
        """Estimate the ELBO of some images in float64; the noise depends on the image and the samples alone.

        Args:
            free: their free tensors.
            samples: of each.
            which: their places; by default all.
        """
        which = self.all if which is None else which
        sources = self.sources(which, f"of {samples}")
        parts = [double(self.log_weight(free, which, sources)).sum(0) for _ in range(0, samples, _SAMPLES)]
        return torch.stack(parts).sum(0) / (len(parts) * _SAMPLES)

    def best(self, free: Given) -> tuple[Given, Tensor]:
        """Maximize the ELBO from a start; the second value is the rounds that each image took, with shape (B,)."""
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
        """Take some steps from free tensors of some images, and return where they lead."""
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
    """Return standard normal noise with shape (B, *shape), a source for each image."""
    return torch.stack(
        [torch.randn(tuple(shape), generator=source, dtype=like.dtype, device=like.device) for source in sources]
    )
