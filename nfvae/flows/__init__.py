"""Flows by name. Adding one is a file beside this one, an import and a line in `FLOWS`."""

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from nfvae.flows.base import Flow, Parameters, ParametricFlow
from nfvae.flows.cholesky import CholeskyFlow
from nfvae.flows.iaf import IAFFlow
from nfvae.flows.maf import MAFFlow
from nfvae.flows.none import NoFlow
from nfvae.flows.planar import PlanarFlow
from nfvae.flows.radial import RadialFlow

__all__ = [
    "FLOWS",
    "CholeskyFlow",
    "Flow",
    "IAFFlow",
    "MAFFlow",
    "NoFlow",
    "Parameters",
    "ParametricFlow",
    "PlanarFlow",
    "RadialFlow",
    "make_flow",
]

FLOWS: Mapping[str, type[Flow]] = {
    "cholesky": CholeskyFlow,
    "iaf": IAFFlow,
    "maf": MAFFlow,
    "none": NoFlow,
    "planar": PlanarFlow,
    "radial": RadialFlow,
}


def make_flow(name: str, features: int, context: int = 0, depth: int = 1, **options: Any) -> Flow:
    """Build a flow from its name in `FLOWS`, or from "package.module:Class" of one's own.

    Args:
        name: registry name or dotted path.
        features: D, the number of latent coordinates.
        context: C, the size of the context h; 0 for a global flow.
        depth: number of layers.
        options: further arguments of the flow's class.

    Raises:
        ValueError: for an unknown name or option, or a value the flow refuses.

    Example:
        >>> make_flow("planar", features=2, depth=3).depth
        3
    """
    flow = _import_flow(name) if ":" in name else FLOWS.get(name)
    if flow is None:
        raise ValueError(f"unknown flow {name!r}; known flows: {', '.join(FLOWS)}, or package.module:Class")
    known = [key for key in inspect.signature(flow).parameters if key not in ("features", "context", "depth")]
    for option in options:
        if option not in known:
            raise ValueError(f"unknown option {option!r} of flow {name!r}; known options: {', '.join(known) or 'none'}")
    return flow(features, context, depth, **options)


def _import_flow(path: str) -> type[Flow]:
    module, _, attribute = path.partition(":")
    try:
        flow = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"cannot import flow {path!r}: {error}") from error
    if not (isinstance(flow, type) and issubclass(flow, Flow)):
        raise ValueError(f"{path!r} is not a subclass of nfvae.flows.Flow")
    return flow
