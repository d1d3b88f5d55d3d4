"""Residual flows: the identity plus a contraction."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from nfvae.flows.base import Flow, Given, Parameters
from nfvae.flows.bijection import Bijection, Chain
from nfvae.networks.spectral import Contraction, ContractiveMLP
from nfvae.numerics import first_derivative_only, is_settled, log_abs_det, plus_identity, solved
from nfvae.registry import check_choice, check_number, check_sizes

_MOST_EXACT = 64  # coordinates up to which the exact log-determinant is the default
_MOST_LAYERS = 1_000  # hidden layers
_MOST_ITERATIONS = 2_000  # of the fixed point; with slopes of 0.97³, 400 are enough
_CHECK_EVERY = 5  # steps
_CONTINUES = 0.5  # probability that the roulette adds one more term
LOG_DETS = ("exact", "series", "roulette")

LogDet = Callable[[Contraction, list[Tensor], Tensor | None], Tensor]


class Residual(Bijection):
    """Add a contraction.

    - *Forward*: y = z + g(z), |g(z) - g(z')| < |z - z'|.
    - *Log-determinant*: log det(I + J), J = dg/dz: see `exact_log_det`, `series_log_det` and `roulette_log_det`.
    - *Inverse*: the limit of z <- y - g(z).
    - *Constraint*: the spectral norms of g's weights, by `SpectralLinear`.

    Args:
        contraction: g.
        shape: (*, D), where * is the batch shape of g's context.
        log_det: computes the log-determinant from g, its slopes at z, and the probes.
        probes: standard normal probes of an estimated log-determinant with shape (*, D); None to draw them for every
            point.
        exact: whether the log-determinant is exact.

    References:
        Invertible Residual Networks, arXiv 1811.00995.
        Residual Flows for Invertible Generative Modeling, arXiv 1906.02735.
    """

    def __init__(
        self,
        contraction: Contraction,
        shape: tuple[int, ...],
        log_det: LogDet,
        probes: Tensor | None = None,
        exact: bool = True,
    ) -> None:
        super().__init__(shape)
        self.contraction, self.log_det, self.probes, self.exact = contraction, log_det, probes, exact

    @override
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        step, slopes = self.contraction.with_slopes(z)
        return z + step, self._log_det(z + step, slopes)

    @override
    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        z = self._fixed_point(y)
        return z, -self._log_det(z, self.contraction.with_slopes(z)[1])

    def _log_det(self, point: Tensor, slopes: list[Tensor]) -> Tensor:
        if self.exact:
            return self.log_det(self.contraction, slopes, None)
        probes = torch.randn_like(point) if self.probes is None else self.probes.expand_as(point)
        return self.log_det(self.contraction, slopes, probes)

    def _fixed_point(self, y: Tensor) -> Tensor:
        """Return the root of z + g(z) = y, differentiably: a last Newton step on the graph, its Jacobian detached."""
        with torch.no_grad():
            z = y - self.contraction(y)
            for count in range(_MOST_ITERATIONS):
                before, z = z, y - self.contraction(z)
                if count % _CHECK_EVERY == 0 and is_settled(z - before, z):
                    break
        step, slopes = self.contraction.with_slopes(z)
        missing = z + step - y
        if not missing.requires_grad:
            return z - missing
        with torch.no_grad():
            matrix = plus_identity(self.contraction.jacobian(slopes))
        return z - solved(matrix, first_derivative_only(missing))

    @override
    def pull_back(self, z: Tensor, y: Tensor, vector: Tensor) -> Tensor:
        with torch.no_grad():
            matrix = plus_identity(self.contraction.jacobian(self.contraction.with_slopes(z)[1]))
            return solved(matrix.mT, vector)


def exact_log_det(contraction: Contraction, slopes: list[Tensor], probes: Tensor | None) -> Tensor:
    """Return log det(I + J) by its triangular factors."""
    return log_abs_det(plus_identity(contraction.jacobian(slopes)))


def series_log_det(terms: int) -> LogDet:
    """Return a function that gives Σ_{k <= n} (-1)^{k+1} vᵀ Jᵏ v/k, the truncated power series with Hutchinson's trace.

    Args:
        terms: n; the truncation has a bias below D c^{n+1}/((n + 1)(1 - c)) for slopes below c.
    """

    def log_det(contraction: Contraction, slopes: list[Tensor], probes: Tensor | None) -> Tensor:
        assert probes is not None
        power, total = probes, torch.zeros_like(probes[..., 0])
        for term in range(1, terms + 1):
            power = contraction.pull(slopes, power)
            total = total - (-1) ** term / term * (power * probes).sum(-1)
        return total

    return log_det


def roulette_log_det(terms: int) -> LogDet:
    """Return a function that gives an unbiased estimate of log det(I + J) and of its gradient, by Russian roulette.

    After n terms of the power series, another one follows with probability 1/2, and its weight is doubled each time.
    The gradient is that of wᵀ J v with w = Σ_k (-1)ᵏ (Jᵀ)ᵏ v, weighted in the same way (the Neumann series of the
    reference), so that no term is kept in memory.

    Args:
        terms: n, the number of terms that are always there.

    References:
        Residual Flows for Invertible Generative Modeling, arXiv 1906.02735, theorems 1 and 2.
    """

    def log_det(contraction: Contraction, slopes: list[Tensor], probes: Tensor | None) -> Tensor:
        assert probes is not None
        with torch.no_grad():
            extra = int(torch.distributions.Geometric(1 - _CONTINUES).sample())  # type: ignore[no-untyped-call]
            power, weight = probes, 1.0
            total, neumann = torch.zeros_like(probes[..., 0]), probes.clone()
            for term in range(1, terms + extra + 1):
                weight = weight / _CONTINUES if term > terms else 1.0
                power = contraction.pull(slopes, power)
                total = total - (-1) ** term * weight / term * (power * probes).sum(-1)
                neumann = neumann + (-1) ** term * weight * power
        if not any(slope.requires_grad for slope in slopes):
            return total
        surrogate = (neumann * contraction.push(slopes, probes)).sum(-1)
        return total + first_derivative_only(surrogate - surrogate.detach())

    return log_det


class ResidualFlow(Flow):
    """A stack of residual layers; the context enters the first hidden layer of each contraction.

    The inverse takes many passes of each contraction, the other direction one.

    Args:
        features: D, the number of latent coordinates.
        context: C, the size of h; 0 makes the flow global. Its weights are not normalized: g contracts in z alone.
        depth: number of layers.
        hidden: width of each hidden layer of a contraction.
        hidden_layers: number of hidden layers of a contraction.
        coefficient: bound of the spectral norm of each weight, below 1.
        log_det: how training computes log-determinants: `exact`, by factors; `series`, truncated; `roulette`,
            unbiased; None for `exact` up to 64 coordinates, else `roulette`. Evaluation mode is always exact.
        terms: number of terms of the series, or of those that the roulette always takes.

    Raises:
        ValueError: for sizes below 1, a coefficient outside (0, 1), or an unknown log-determinant.

    References:
        Residual Flows for Invertible Generative Modeling, arXiv 1906.02735.
    """

    def __init__(
        self,
        features: int,
        context: int = 0,
        depth: int = 1,
        hidden: int = 128,
        hidden_layers: int = 2,
        coefficient: float = 0.97,
        log_det: str | None = None,
        terms: int = 4,
    ) -> None:
        super().__init__(features, context, depth)
        check_sizes(hidden=hidden, terms=terms)
        check_number("hidden_layers", hidden_layers, least=1, most=_MOST_LAYERS)
        check_number("coefficient", coefficient, above=0, most=0.999)
        self.kind = log_det or ("exact" if features <= _MOST_EXACT else "roulette")
        check_choice("log_det", self.kind, LOG_DETS)
        self.terms = terms
        widths = [hidden] * hidden_layers
        self.networks = nn.ModuleList(ContractiveMLP(features, widths, coefficient) for _ in range(depth))
        self.heads = nn.ModuleList(Parameters({f"bias{layer}": (hidden,)}, context) for layer in range(depth))

    @property
    @override
    def exact(self) -> bool:  # type: ignore[override]
        """Whether log-determinants are exact, as they always are in evaluation mode."""
        return self.kind == "exact" or not self.training

    @override
    def given(self, h: Tensor | None) -> Given:
        given = {name: bias for head in self.heads for name, bias in head(h).items()}
        if not self.exact and self.context:
            biases = list(given.values())
            given |= {f"probe{layer}": torch.randn_like(bias[..., :1].expand(*bias.shape[:-1], self.features))
                      for layer, bias in enumerate(biases)}  # fmt: skip
        return given

    @override
    def build(self, given: Given) -> Chain:
        log_det: Any = exact_log_det
        if not self.exact:
            log_det = (series_log_det if self.kind == "series" else roulette_log_det)(self.terms)
        layers = []
        for layer, network in enumerate(self.networks):
            bias = given[f"bias{layer}"]
            shape = (*bias.shape[:-1], self.features)
            layers.append(Residual(network(bias), shape, log_det, given.get(f"probe{layer}"), self.exact))
        return Chain(layers)
