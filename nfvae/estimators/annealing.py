"""Chains from the posterior's noise to the exact posterior: their path, moves and weights.

With z = f(ε), ε ~ N(0, I) under q(z|x), and log w(ε) = log p(x, z) - log q(z|x), the path is

    log π_β(ε) = log N(ε; 0, I) + β log w(ε),   β from 0 to 1:

It is q at β = 0 and the exact posterior at β = 1. Nothing is inverted, and the flow preconditions the moves.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from nfvae.estimators.streaming import Images, image_generator
from nfvae.flows import Draw, FlowDistribution
from nfvae.models import VAE
from nfvae.numerics import double

LEAPFROG = 2
"""Steps per move, each with one gradient of log w; measured, two give the tightest bound for a given time."""

MARKS = 10
"""Number of points along the path that a trace records."""

_TUNING_CHAINS, _TUNING_SHARE, _FEWEST, _MOST = 2, 5, 10, 50  # the tuning round has a fifth of the temperatures
_ACCEPTANCE = 0.65  # target of the step sizes
_GAIN = 0.5  # change of a step size's logarithm, for a move whose acceptance is off by 1
_STEEPNESS = 2.0  # steepness of the sigmoid that sets the first temperatures
_TRUST = 0.5  # share of the tuning round in the spacing; the rest is the sigmoid's
_SMALLEST_VARIANCE = 1e-12  # floor of the variance of log w, which is 0 where the posterior is exact
_MOVES_PER_DRAW = 10  # moves whose random numbers are drawn at once


@contextmanager
def frozen(model: VAE) -> Iterator[None]:
    """Freeze a model's parameters, so that no gradients of them are computed; chains do not need them."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


class State(NamedTuple):
    """The state of some chains.

    Attributes:
        noise: ε with shape (C, B, D).
        log_weight: log w(ε) with shape (C, B).
        gradient: gradient of log w in ε, with shape (C, B, D).
    """

    noise: Tensor
    log_weight: Tensor
    gradient: Tensor


class Target:
    """Compute log w and its gradient as functions of the noise of B densities.

    Build and call it without gradients and outside of `torch.inference_mode`.

    Args:
        posterior: density that chains start from, with batch shape (B,) and a Gaussian base.
        terms: samples of it with shape (C, B, D) -> log p(x, z) - log q(z) and log q(z) - log p(z), with shape (C, B).
        indices: index of each element of the batch, for its random numbers.
        rows: chains times B for which gradients are computed at once.
    """

    def __init__(
        self,
        posterior: FlowDistribution,
        terms: Callable[[Draw], tuple[Tensor, Tensor]],
        indices: Sequence[int],
        rows: int,
    ) -> None:
        self.posterior, self.terms, self.indices = posterior, terms, indices
        self.like: Tensor = posterior.base.loc
        self.chains = max(1, rows // len(indices))  # at once

    @classmethod
    def of_images(cls, model: VAE, images: Images) -> "Target":
        """Return the target of some images, which are encoded once, under a VAE in eval mode; p(z) is built once."""
        x = images.x.clone()  # tensors of inference mode have no gradient
        prior = model.prior_of(x)

        def terms(draw: Draw) -> tuple[Tensor, Tensor]:
            found = model.log_terms(x, draw, prior)
            return found.log_weight, found.kl

        return cls(model.posterior(x), terms, images.indices, images.rows)

    def __call__(self, noise: Tensor) -> State:
        """Return the state of chains at some noise with shape (C, B, D)."""
        parts = [self._state(part) for part in torch.split(noise, self.chains)]
        return State(*(torch.cat(values) for values in zip(*parts, strict=True)))

    def _state(self, noise: Tensor) -> State:
        noise = noise.detach().requires_grad_()
        with torch.enable_grad():
            log_weight, _ = self.terms(self.posterior.from_noise(noise))
            (gradient,) = torch.autograd.grad(log_weight.sum(), noise)
        return State(noise.detach(), log_weight.detach(), gradient)

    def at_start(self, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return z with shape (C, B, D), log w and log q(z|x) - log p(z) with shape (C, B), at samples of q."""
        parts = []
        for part in torch.split(noise, self.chains):
            draw = self.posterior.from_noise(part)
            parts.append((draw.z, *self.terms(draw)))
        z, log_weight, kl = (torch.cat(values) for values in zip(*parts, strict=True))
        return z, log_weight, kl


class Path(NamedTuple):
    """A path of T temperatures for each of B images.

    Attributes:
        betas: β from 0 to 1, float64 with shape (T + 1, B).
        steps: step sizes of the moves at each β in between, with shape (T - 1, B).
    """

    betas: Tensor
    steps: Tensor


class Trace(NamedTuple):
    """A record of chains along their path; float64.

    Attributes:
        log_weights: log of each chain's weight so far, at `MARKS` points up to the end, with shape (10, C, B).
        acceptances: mean acceptance rate between each point and the one before, with shape (10, B); NaN without moves.
        betas: β at those points, with shape (10, B).
    """

    log_weights: Tensor
    acceptances: Tensor
    betas: Tensor


Moves = Iterator[tuple[Tensor, Tensor]]
"""The random numbers of each move: momentum with shape (C, B, D), and log u with shape (C, B), u uniform."""


def moves(target: Target, chains: int, seed: int, purpose: str) -> Moves:
    """Yield random numbers of moves endlessly; each image's depend only on the seed, its index and the purpose."""
    like, indices = target.like, target.indices
    sources = [image_generator(seed, index, purpose, like.device) for index in indices]
    shape = (_MOVES_PER_DRAW, chains, like.shape[-1] + 1)
    while True:
        drawn = [torch.randn(shape, generator=source, dtype=like.dtype, device=like.device) for source in sources]
        for normal in torch.stack(drawn, 2):
            yield normal[..., :-1], torch.special.log_ndtr(normal[..., -1])


def run_chains(target: Target, start: Tensor, path: Path, numbers: Moves, backwards: bool = False) -> Trace:
    """Run chains along the path and compute their weights: log w_c = Σ_t (β_t - β_{t-1}) log w(ε_{t-1}).

    Forwards, from samples of q, the mean weight is p(x) in expectation; backwards, from samples of the exact posterior,
    the mean of 1/w_c is 1/p(x).

    Args:
        target: log w of the densities.
        start: noise of the chains, with shape (C, B, D).
        path: temperatures and step sizes, which must not come from these chains.
        numbers: random numbers of the moves.
        backwards: whether the chains start at β = 1.

    References:
        Neal, Annealed Importance Sampling, Statistics and Computing 11, 2001.
        Sandwiching the Marginal Likelihood Using Bidirectional Monte Carlo, arXiv 1511.02543.
    """
    count = len(path.betas) - 1
    places = list(reversed(range(count)) if backwards else range(count))
    marks = [math.ceil(count * mark / MARKS) for mark in range(1, MARKS + 1)]
    state, total = target(start), double(start.new_zeros(start.shape[:-1]))
    accepted, traced = [], {}
    for done, place in enumerate(places, 1):
        if done > 1:
            level = max(place, places[done - 2])  # index of the β between this step and the one before
            state, acceptance = _move(target, state, path.betas[level], path.steps[level - 1], numbers)
            accepted.append(double(acceptance).mean(0))
        total = total + (path.betas[place + 1] - path.betas[place]) * double(state.log_weight)
        if done in marks:
            mean = torch.stack(accepted).mean(0) if accepted else total[0] * math.nan
            traced[done] = (total, mean, path.betas[place + (not backwards)])
            accepted = []
    return Trace(*(torch.stack(values) for values in zip(*(traced[mark] for mark in marks), strict=True)))


def tune(target: Target, temperatures: int, seed: int) -> Path:
    """Find the path of each image by a short round of two chains, whose weights are discarded.

    Step sizes follow the acceptance rate, up to a quarter turn per move, after which chains of a Gaussian forget their
    position. Half of the temperatures' spacing follows the variation of log w, half a fixed sigmoid.

    Args:
        target: log w of the images.
        temperatures: number of temperatures T.
        seed: random seed.
    """
    batch = target.like.shape[:-1]
    if temperatures == 1:
        return Path(double(target.like.new_tensor([[0.0], [1.0]])).expand(2, *batch), target.like.new_empty(0, *batch))
    count = min(max(temperatures // _TUNING_SHARE, _FEWEST), _MOST)
    betas = _sigmoid(count).to(double(target.like).device)[:, None].expand(-1, *batch).contiguous()
    numbers = moves(target, _TUNING_CHAINS, seed, "tuning")
    state = target(next(numbers)[0])
    longest = math.log(math.pi / 2 / LEAPFROG)
    log_step, log_steps, seen = target.like.new_full(batch, longest - 1), [], [state.log_weight]
    for beta in betas[1:-1]:
        state, acceptance = _move(target, state, beta, log_step.exp(), numbers)
        log_step = (log_step + _GAIN * (acceptance.mean(0) - _ACCEPTANCE)).clamp_max(longest)
        log_steps.append(double(log_step))
        seen.append(state.log_weight)
    spaced = _spaced(betas, double(torch.stack(seen)), temperatures)
    steps = _interpolated(spaced[1:-1], betas[1:-1], _smooth(torch.stack(log_steps)))
    return Path(spaced, steps.exp())


def _sigmoid(count: int) -> Tensor:
    """Return the first schedule: β from 0 to 1 with shape (count + 1), denser at both ends."""
    values = torch.sigmoid(_STEEPNESS * torch.linspace(-1, 1, count + 1, dtype=torch.float64))
    return (values - values[0]) / (values[-1] - values[0])


def _spaced(betas: Tensor, log_weights: Tensor, temperatures: int) -> Tensor:
    """Space T temperatures so that log w spreads evenly over them.

    Steps of β with equal spreads of log-weights have equal conditional effective sample sizes.

    Args:
        betas: β of the tuning round, with shape (n + 1, B).
        log_weights: log w of its chains at all but the last β, with shape (n, C, B).
        temperatures: number of temperatures T.
    """
    variance = log_weights.var(1).clamp_min(_SMALLEST_VARIANCE)
    length = _smooth(variance.log()).mul(0.5).exp() * betas.diff(dim=0)
    share = _TRUST * length / length.sum(0) + (1 - _TRUST) / len(length)
    passed = torch.cat([torch.zeros_like(share[:1]), share.cumsum(0)])
    even = torch.linspace(0, 1, temperatures + 1, dtype=betas.dtype, device=betas.device)
    spaced = _interpolated(even[:, None].expand(-1, betas.shape[1]), passed, betas)
    spaced[0], spaced[-1] = 0, 1
    return spaced


def _move(target: Target, state: State, beta: Tensor, step: Tensor, numbers: Moves) -> tuple[State, Tensor]:
    """Make one Hamiltonian Monte Carlo move that leaves π_β invariant; also return its acceptance, shape (C, B).

    The Gaussian part of the energy is solved exactly, by a rotation, between half kicks of β times the gradient of
    log w: where the posterior is near q, steps of any length are accepted.

    Args:
        target: log w of the images.
        state: current state of the chains.
        beta: β of each image, with shape (B,).
        step: step size of each image, an angle, with shape (B,).
        numbers: random numbers of the moves.

    References:
        Split Hamiltonian Monte Carlo, arXiv 1106.5941.
    """
    momentum, log_uniform = next(numbers)
    beta, step = beta.to(momentum), step.to(momentum)
    kick = (step * beta / 2)[:, None]
    cosine, sine = step.cos()[:, None], step.sin()[:, None]
    new, velocity = state, momentum
    for _ in range(LEAPFROG):
        velocity = velocity + kick * new.gradient
        noise, velocity = cosine * new.noise + sine * velocity, cosine * velocity - sine * new.noise
        new = target(noise)
        velocity = velocity + kick * new.gradient
    log_ratio = _energy(state, momentum, beta) - _energy(new, velocity, beta)
    log_ratio = torch.where(log_ratio.isnan(), -math.inf, log_ratio).clamp_max(0)  # a move that diverged is rejected
    accepted = log_uniform < log_ratio
    picked = (
        torch.where(accepted.view(*accepted.shape, *[1] * (one.ndim - 2)), one, other)
        for one, other in zip(new, state, strict=True)
    )
    return State(*picked), log_ratio.exp()


def _energy(state: State, velocity: Tensor, beta: Tensor) -> Tensor:
    return (state.noise.square().sum(-1) + velocity.square().sum(-1)) / 2 - beta * state.log_weight


def _smooth(values: Tensor) -> Tensor:
    """Average values with shape (n, B) over a fifth of the first dimension."""
    reach = len(values) // 10
    ends = values[:1].expand(reach, -1), values[-1:].expand(reach, -1)
    return torch.cat([ends[0], values, ends[1]]).unfold(0, 2 * reach + 1, 1).mean(-1)


def _interpolated(at: Tensor, points: Tensor, values: Tensor) -> Tensor:
    """Interpolate linearly along the first dimension, separately for each image; constant beyond the ends."""
    right = torch.searchsorted(points.T.contiguous(), at.T.contiguous()).T.clamp(1, len(points) - 1)
    left, step = points.gather(0, right - 1), points.gather(0, right) - points.gather(0, right - 1)
    share = ((at - left) / step).clamp(0, 1)
    return torch.lerp(values.gather(0, right - 1), values.gather(0, right), share)
