"""Flows with small networks and large random parameters, for the contract tests."""

import torch

from nfvae.flows import FLOWS, make_flow
from nfvae.flows.univariate import UNIVARIATES
from nfvae.registry import options_of

CONTEXT = 3
ALL = sorted(FLOWS)


def small_options(name):
    """Narrow networks, where a flow has some."""
    return {"hidden": 12} if "hidden" in options_of(FLOWS.load(name)) else {}


def cases():
    """Every flow by its name, one that takes a univariate map with each of them as name:map."""
    for name in ALL:
        takes_map = "univariate" in options_of(FLOWS.load(name))
        yield from (f"{name}:{each}" for each in UNIVARIATES) if takes_map else [name]


CASES = list(cases())


def small_flow(case, features, context=0, depth=1):
    """Build a flow of `CASES` with narrow networks."""
    name, _, univariate = case.partition(":")
    options = small_options(name) | ({"univariate": univariate} if univariate else {})
    return make_flow(name, features, context, depth, **options)


def random_flow(case, features, context=0, depth=1, gain=1.0, dtype=torch.float64):
    """Build a flow and give it large random parameters: unit variance of every layer's output, times the gain."""
    flow = small_flow(case, features, context, depth).to(dtype)
    for parameter in flow.parameters():
        fan_in = parameter.shape[1] if parameter.ndim == 2 else 1
        torch.nn.init.normal_(parameter, std=gain / max(fan_in, 1) ** 0.5)
    return flow


def random_context(context, batch, dtype=torch.float64):
    return torch.randn(batch, context, dtype=dtype) if context else None


def has_parameters(case):
    return any(True for _ in small_flow(case, 2).parameters())
