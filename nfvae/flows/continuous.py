"""Continuous flows: an ordinary differential equation, by Runge-Kutta steps of fixed size."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from typing_extensions import override

from nfvae.flows.base import Flow, Given, Parameters
from nfvae.flows.bijection import Bijection, Chain
from nfvae.networks.jacobians import TanhFunction
from nfvae.numerics import first_derivative_only, is_settled, log_abs_det, plus_identity, solved
from nfvae.registry import check_number, check_sizes

_MOST_EXACT = 64  # coordinates up to which the trace is exact by default
_MOST_LAYERS = 1_000  # hidden layers
_MOST_ITERATIONS = 50  # of Newton's method; from the reversed step, two or three are enough
_LAST_SCALE = 0.1  # of the last layer's first weights, so that the flow starts near the identity


class Drift(nn.Module):
    """The network f of dz/dt = f(z, t), an MLP with tanh units that sees time and context in its first hidden layer.

    Args:
        features: D.
        hidden: widths of the hidden layers.
    """

    def __init__(self, features: int, hidden: Sequence[int]) -> None:
        super().__init__()
        sizes = [features, *hidden, features]
        weights = [torch.randn(out, into) / into**0.5 for into, out in pairwise(sizes)]
        weights[-1] *= _LAST_SCALE
        self.weights = nn.ParameterList(weights)
        self.biases = nn.ParameterList([torch.zeros(size) for size in sizes[2:]])
        self.by_time = nn.Parameter(torch.randn(hidden[0]) / hidden[0] ** 0.5)

    def at(self, bias: Tensor, time: float) -> TanhFunction:
        """Return the function of z at a time, given the bias of the first hidden layer with shape (*, width)."""
        return TanhFunction([*self.weights], [bias + time * self.by_time, *self.biases])


class RungeKutta(Bijection):
    """One step of the classical Runge-Kutta method.

    - *Forward*: y = z + δ/6 (k_1 + 2 k_2 + 2 k_3 + k_4) with k_1 = f(z, t), k_2 = f(z + δ k_1/2, t + δ/2) and so on.
    - *Log-determinant*: that of the step itself, from its Jacobian, or δ/6 (tr_1 + 2 tr_2 + 2 tr_3 + tr_4), the same
      rule for the trace of ∂f/∂z, which differs by O(δ⁵).
    - *Inverse*: by Newton's method from the reversed step.
    - *Constraint*: δ times the slope of f is small enough for the step to be invertible, as it is for smooth f.

    Args:
        drifts: f at t, t + δ/2 and t + δ.
        shape: (*, D), where * is the batch shape of f's context.
        delta: δ.
        exact: whether the log-determinant is that of the step itself.
        probes: Rademacher probes of Hutchinson's trace with shape (*, D); None for the exact trace.
    """

    def __init__(
        self,
        drifts: Sequence[TanhFunction],
        shape: tuple[int, ...],
        delta: float,
        exact: bool,
        probes: Tensor | None = None,
    ) -> None:
        super().__init__(shape)
        self.drifts, self.delta, self.exact, self.probes = list(drifts), delta, exact, probes

    @override
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        y, slopes = self._step(z)
        if self.exact:
            return y, log_abs_det(self._jacobian(slopes))
        traces = [self._trace(drift, each) for drift, each in zip(self._stages(), slopes, strict=True)]
        return y, self._average(traces)

    @override
    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            z = self._step(y, backwards=True)[0]
            for _ in range(_MOST_ITERATIONS):
                reached, slopes = self._step(z)
                step = solved(self._jacobian(slopes), reached - y)
                z = z - step
                if is_settled(step, z):
                    break
        reached, slopes = self._step(z)
        missing = reached - y
        if missing.requires_grad:
            missing = first_derivative_only(missing)
        z = z - solved(self._jacobian(slopes).detach(), missing)
        return z, -self._forward_and_log_det(z)[1]

    @override
    def pull_back(self, z: Tensor, y: Tensor, vector: Tensor) -> Tensor:
        with torch.no_grad():
            return solved(self._jacobian(self._step(z)[1]).mT, vector)

    def _stages(self, backwards: bool = False) -> list[TanhFunction]:
        start, middle, end = reversed(self.drifts) if backwards else self.drifts
        return [start, middle, middle, end]

    def _step(self, z: Tensor, backwards: bool = False) -> tuple[Tensor, list[list[Tensor]]]:
        """Return the end of a step, and the slopes of f's units at the four stages."""
        sign = -1 if backwards else 1
        changes: list[Tensor] = []
        slopes = []
        for drift, share in zip(self._stages(backwards), (0.0, 0.5, 0.5, 1.0), strict=True):
            point = z + share * sign * self.delta * changes[-1] if changes else z
            change, slope = drift.with_slopes(point)
            changes.append(change)
            slopes.append(slope)
        return z + sign * self._average(changes), slopes

    def _average(self, values: Sequence[Tensor]) -> Tensor:
        """Return δ times the mean over a step, by Simpson's rule."""
        first, second, third, fourth = values
        return self.delta / 6 * (first + 2 * (second + third) + fourth)

    def _jacobian(self, slopes: Sequence[Sequence[Tensor]]) -> Tensor:
        """Return the Jacobian of the step with shape (*, D, D)."""
        parts: list[Tensor] = []
        for drift, slope, share in zip(self._stages(), slopes, (0.0, 0.5, 0.5, 1.0), strict=True):
            own = drift.jacobian(slope)
            parts.append(own + share * self.delta * own @ parts[-1] if parts else own)
        return plus_identity(self._average(parts))

    def _trace(self, drift: TanhFunction, slopes: Sequence[Tensor]) -> Tensor:
        """Return the trace of ∂f/∂z with shape (*), or Hutchinson's estimate of it."""
        if self.probes is None:
            return drift.jacobian(slopes).diagonal(dim1=-2, dim2=-1).sum(-1)
        return (drift.push(slopes, self.probes) * self.probes).sum(-1)


class ContinuousFlow(Flow):
    """The solution of dz/dt = f(z, t) from t = 0 to 1, by Runge-Kutta steps of fixed size.

    A step is the same map for a point whatever its neighbors are. Training integrates the trace of ∂f/∂z, which is
    cheap. Evaluation mode uses the exact log-determinant and inverse of the steps, so that no error of the integration
    enters a likelihood.

    Args:
        features: D, the number of latent coordinates.
        context: C, the size of h, which enters the first hidden layer of f; 0 makes the flow global.
        depth: number of differential equations, one after the other, with a network each.
        hidden: width of each hidden layer of f.
        hidden_layers: number of hidden layers of f.
        steps: number of steps per equation.
        hutchinson: whether training estimates the trace from one random probe for each point or image; None for more
            than 64 coordinates.

    Raises:
        ValueError: for sizes below 1.

    References:
        Neural Ordinary Differential Equations, arXiv 1806.07366.
        FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models, arXiv 1810.01367.
    """

    def __init__(
        self,
        features: int,
        context: int = 0,
        depth: int = 1,
        hidden: int = 64,
        hidden_layers: int = 2,
        steps: int = 8,
        hutchinson: bool | None = None,
    ) -> None:
        super().__init__(features, context, depth)
        check_sizes(hidden=hidden, steps=steps)
        check_number("hidden_layers", hidden_layers, least=1, most=_MOST_LAYERS)
        self.steps = steps
        self.hutchinson = features > _MOST_EXACT if hutchinson is None else hutchinson
        self.networks = nn.ModuleList(Drift(features, [hidden] * hidden_layers) for _ in range(depth))
        self.heads = nn.ModuleList(Parameters({f"bias{layer}": (hidden,)}, context) for layer in range(depth))

    @property
    @override
    def exact(self) -> bool:  # type: ignore[override]
        """Whether log-determinants are those of the steps, as they are in evaluation mode."""
        return not self.training

    @override
    def given(self, h: Tensor | None) -> Given:
        given = {name: bias for head in self.heads for name, bias in head(h).items()}
        if self.hutchinson and not self.exact:
            probes = {
                f"probe{layer}": bias.new_empty(*bias.shape[:-1], self.features).bernoulli_(0.5) * 2 - 1
                for layer, bias in enumerate(given.values())
            }
            given |= probes
        return given

    @override
    def build(self, given: Given) -> Chain:
        layers, delta = [], 1 / self.steps
        for layer, network in enumerate(self.networks):
            assert isinstance(network, Drift)
            bias, probes = given[f"bias{layer}"], given.get(f"probe{layer}")
            halves = [network.at(bias, place * delta / 2) for place in range(2 * self.steps + 1)]
            shape = (*bias.shape[:-1], self.features)
            for place in range(0, 2 * self.steps, 2):
                layers.append(RungeKutta(halves[place : place + 3], shape, delta, self.exact, probes))
        return Chain(layers)
