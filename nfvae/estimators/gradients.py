"""Estimators of the gradient of a bound from samples of its posterior, by name."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from typing_extensions import override

from nfvae.estimators.objectives import Objective
from nfvae.flows import DiagonalNormal, Draw, FlowDistribution, check_exact, layers_of
from nfvae.models import VAE, LogTerms
from nfvae.numerics import full_precision
from nfvae.registry import Registry

_DECAY = 0.99  # decay of the moving average that a single sample is compared with


def path_draw(density: FlowDistribution, sample_shape: torch.Size | tuple[int, ...] = ()) -> Draw:
    """Draw as `FlowDistribution.draw` does, with a log-density differentiable only along the samples' paths.

    This leaves out the gradient at a fixed sample, whose expectation is zero and which is pure noise near the target.
    The gradient of log q at a sample is computed forwards through the flow, s <- J⁻ᵀ (s - ∇ log|det J|) at each layer;
    nothing is inverted.

    Raises:
        ValueError: for a flow whose log-determinants are not exact.

    References:
        Sticking the Landing, arXiv 1703.09194.
        Fast and Unified Path Gradient Estimators for Normalizing Flows, arXiv 2403.15881.
    """
    draw, score = _draw_and_score(density, sample_shape)
    return draw._replace(log_prob=_with_gradient_of(draw.log_prob, (draw.z * score).sum(-1)))


def _draw_and_score(density: FlowDistribution, sample_shape: torch.Size | tuple[int, ...]) -> tuple[Draw, Tensor]:
    """Return a draw, and the gradient of log q in its samples at fixed parameters."""
    check_exact("a path gradient", density.bijection)
    base = density.base
    if not isinstance(base, DiagonalNormal):
        raise ValueError(f"a path gradient needs a Gaussian base; this density has {type(base).__name__}")
    noise = torch.randn(torch.Size(sample_shape) + base.loc.shape, dtype=base.loc.dtype, device=base.loc.device)
    with torch.enable_grad(), full_precision(noise.device):
        z = torch.addcmul(base.loc, base.scale, noise)
        z = z if z.requires_grad else z.requires_grad_()
        score, total = (-noise / base.scale).detach(), z.new_zeros(z.shape[:-1])
        for layer in layers_of(density.bijection):
            y, log_det = layer.forward_and_log_det(z)
            score = layer.pull_back(z, y, score - _gradient(log_det, z)).detach()
            z, total = y, total + log_det
        return Draw(z, base.log_prob_of_noise(noise) - total, total), score


def _gradient(log_det: Tensor, z: Tensor) -> Tensor:
    if not log_det.requires_grad:
        return torch.zeros_like(z)
    (gradient,) = torch.autograd.grad(log_det.sum(), z, retain_graph=True, materialize_grads=True)
    return gradient


def _with_gradient_of(value: Tensor, other: Tensor) -> Tensor:
    """Return `value` with the gradient of `other`."""
    return value.detach() + other - other.detach()


class Gradient(nn.Module, ABC):
    """Turn images into log-densities whose gradient estimates that of a bound."""

    def check(self, objective: Objective) -> None:
        """Refuse an objective whose gradient this does not estimate.

        Raises:
            ValueError: if the objective does not fit.
        """

    @abstractmethod
    @override
    def forward(self, model: VAE, x: Tensor, samples: int) -> LogTerms:
        """Return log-densities with shape (K, B) for images with shape (B, P)."""


class Plain(Gradient):
    """The reparametrized gradient as automatic differentiation finds it (arXiv 1312.6114)."""

    @override
    def forward(self, model: VAE, x: Tensor, samples: int) -> LogTerms:
        return model(x, samples)  # type: ignore[no-any-return]


class Path(Gradient):
    """The gradient along the paths of the samples alone: see `path_draw`. At an exact posterior it is always zero."""

    @override
    def check(self, objective: Objective) -> None:
        if objective.weighs_samples:
            raise ValueError("gradient path is biased for an objective that weighs its samples, as iwae: take dreg")

    @override
    def forward(self, model: VAE, x: Tensor, samples: int) -> LogTerms:
        return model.log_terms(x, path_draw(model.posterior(x), (samples,)))


class DoublyReparametrized(Gradient):
    """The path gradient of the importance-weighted bound, with the squares of the normalized weights.

    The decoder and the prior use the weights themselves, as in `plain`.

    References:
        Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives, arXiv 1810.04152.
    """

    @override
    def check(self, objective: Objective) -> None:
        if not objective.weighs_samples:
            raise ValueError("gradient dreg is of an objective that weighs its samples, as iwae: take path for elbo")

    @override
    def forward(self, model: VAE, x: Tensor, samples: int) -> LogTerms:
        draw = path_draw(model.posterior(x), (samples,))
        terms = model.log_terms(x, draw)
        weights = terms.log_weight.detach().softmax(0).unsqueeze(-1)
        draw.z.register_hook(lambda gradient: gradient * weights)  # type: ignore[no-untyped-call]
        return terms


class Reinforce(Gradient):
    """The score-function gradient, for comparison; it uses no derivative of the decoder in its latents.

    The baseline of a sample's log w is the mean over the image's other samples, or a moving average if there is only
    one sample.

    References:
        Neural Variational Inference and Learning in Belief Networks, arXiv 1402.0030.
        Variational Inference for Monte Carlo Objectives, arXiv 1602.06725.
    """

    total: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "weight"):  # of the moving average
            self.register_buffer(name, torch.zeros(()))

    @override
    def check(self, objective: Objective) -> None:
        if not objective.is_plain:
            raise ValueError("gradient reinforce is of the objective elbo with beta 1 and no free bits")

    @override
    def forward(self, model: VAE, x: Tensor, samples: int) -> LogTerms:
        draw, score = _draw_and_score(model.posterior(x), (samples,))
        terms = model.log_terms(x, draw._replace(z=draw.z.detach()))
        at_fixed_sample = draw.log_prob - (draw.z * score).sum(-1)
        signal = self._compared(terms.log_weight.detach())
        return terms._replace(posterior=_with_gradient_of(draw.log_prob, -signal * at_fixed_sample))

    def _compared(self, log_weight: Tensor) -> Tensor:
        """Subtract a baseline, which must not depend on the sample itself."""
        if len(log_weight) > 1:
            return (log_weight - log_weight.mean(0)) * len(log_weight) / (len(log_weight) - 1)
        mean = log_weight.mean()
        baseline = torch.where(self.weight > 0, self.total / self.weight, mean)
        for moving, value in ((self.total, mean), (self.weight, torch.ones_like(mean))):
            moving.lerp_(value, 1 - _DECAY)
        return log_weight - baseline


GRADIENTS = Registry(
    "gradient",
    Gradient,  # type: ignore[type-abstract]
    {
        "dreg": "nfvae.estimators.gradients:DoublyReparametrized",
        "path": "nfvae.estimators.gradients:Path",
        "plain": "nfvae.estimators.gradients:Plain",
        "reinforce": "nfvae.estimators.gradients:Reinforce",
    },
)
