"""Normalizing flows, usable alone. To add one, write a file in this folder and a line in `FLOWS`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nfvae.flows.base import Flow, Given, Parameters, ParametricFlow, Shapes, check_context, check_exact
from nfvae.flows.bases import BASES, Base
from nfvae.flows.bijection import Bijection, Chain, Identity, Inverse, check_points, layers_of
from nfvae.flows.density import FlowDensity
from nfvae.flows.distribution import DiagonalNormal, Draw, FlowDistribution
from nfvae.flows.mixture import Mixture, tempered
from nfvae.flows.supports import make_support
from nfvae.registry import Registry

__all__ = [
    "BASES",
    "FLOWS",
    "Base",
    "Bijection",
    "Chain",
    "DiagonalNormal",
    "Draw",
    "Flow",
    "FlowDensity",
    "FlowDistribution",
    "Given",
    "Identity",
    "Inverse",
    "Mixture",
    "Parameters",
    "ParametricFlow",
    "Shapes",
    "check_context",
    "check_exact",
    "check_points",
    "layers_of",
    "make_density",
    "make_flow",
    "tempered",
]

FLOWS = Registry(
    "flow",
    Flow,  # type: ignore[type-abstract]
    {
        "actnorm": "nfvae.flows.actnorm:ActNorm",
        "batchnorm": "nfvae.flows.batchnorm:BatchNorm",
        "bnaf": "nfvae.flows.bnaf:BNAF",
        "chain": "nfvae.flows.chain:ChainFlow",
        "cholesky": "nfvae.flows.cholesky:CholeskyFlow",
        "coupling": "nfvae.flows.coupling:UnivariateCoupling",
        "elementwise": "nfvae.flows.elementwise:ElementwiseFlow",
        "ffjord": "nfvae.flows.continuous:ContinuousFlow",
        "glow": "nfvae.flows.glow:Glow",
        "householder": "nfvae.flows.householder:HouseholderFlow",
        "iaf": "nfvae.flows.autoregressive:IAF",
        "linear": "nfvae.flows.linear:LinearFlow",
        "maf": "nfvae.flows.autoregressive:MAF",
        "naf": "nfvae.flows.autoregressive:NAF",
        "nice": "nfvae.flows.coupling:NICE",
        "none": "nfvae.flows.none:NoFlow",
        "nsf": "nfvae.flows.coupling:NSF",
        "orthogonal": "nfvae.flows.orthogonal:OrthogonalFlow",
        "permutation": "nfvae.flows.linear:PermutationFlow",
        "planar": "nfvae.flows.planar:PlanarFlow",
        "qr": "nfvae.flows.orthogonal:QRFlow",
        "radial": "nfvae.flows.radial:RadialFlow",
        "realnvp": "nfvae.flows.coupling:RealNVP",
        "residual": "nfvae.flows.residual:ResidualFlow",
        "sylvester": "nfvae.flows.sylvester:SylvesterFlow",
        "zuko": "nfvae.flows.zuko:ZukoFlow",
    },
)


def make_flow(name: str, features: int, context: int = 0, depth: int = 1, **options: Any) -> Flow:
    """Build a flow from its name in `FLOWS`, or from your own "package.module:Class".

    Args:
        name: registered name or class path.
        features: D, the number of latent coordinates.
        context: C, the size of the context h; 0 for a global flow.
        depth: number of layers.
        options: further arguments of the flow's class.

    Raises:
        ValueError: for an unknown name or option, or a value that the flow refuses.

    Example:
        >>> make_flow("planar", features=2, depth=3).depth
        3
    """
    return FLOWS.make(name, options, features=features, context=context, depth=depth)


def make_density(
    flow: str = "maf",
    depth: int = 8,
    flow_options: Mapping[str, Any] | None = None,
    standardize: bool = True,
    base: str = "normal",
    base_options: Mapping[str, Any] | None = None,
    support: str | Sequence[float] = "real",
    shape: Sequence[int] = (2,),
    conditions: int = 0,
) -> FlowDensity:
    """Build a density of vectors from names and numbers alone.

    Args:
        flow: registered name or class path.
        depth: number of layers.
        flow_options: further arguments of the flow's class.
        standardize: whether data are standardized: see `FlowDensity`.
        base: name of the density before the flow, in `nfvae.flows.BASES`.
        base_options: further arguments of the base's class.
        support: support of the data: `real`, `positive`, `unit` for (0, 1), or the two ends of an interval.
        shape: shape of a vector; its size is the flow's D.
        conditions: number C of conditions y of a density p(x|y); 0 for p(x).

    Raises:
        ValueError: as for `make_flow`.
    """
    features = math.prod(shape)
    made = FLOWS.make(flow, flow_options, features=features, context=conditions, depth=depth)
    made_base = BASES.make(base, base_options, features=features)
    return FlowDensity(made, standardize, made_base, make_support(support, features))
