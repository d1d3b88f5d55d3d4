"""Flows with small networks and large random parameters, for the contract tests."""

import torch

from nfvae.flows import FLOWS, make_flow
from nfvae.flows.coupling import MASKS
from nfvae.flows.linear import ORDERS
from nfvae.flows.sylvester import VARIANTS
from nfvae.flows.univariate import UNIVARIATES
from nfvae.registry import options_of
from tests.helpers.sweeps import sweep

CONTEXT = 3
SMALL = {
    "hidden": 12,
    "steps": 2,
    "parts": [{"flow": "planar"}, {"flow": "coupling", "depth": 2, "flow_options": {"hidden": 12}}],
    "transform_options": {"hidden_features": [12]},
}
CHOICES = {"univariate": UNIVARIATES, "mask": MASKS, "permutation": ORDERS, "variant": VARIANTS}


def options_of_flow(name):
    return options_of(FLOWS.load(name))


def choices():
    """Every flow that takes one of `CHOICES` with each of them, by "name:option=choice"."""
    for name in FLOWS:
        for option, values in CHOICES.items():
            if option in options_of_flow(name):
                yield from (f"{name}:{option}={value}" for value in values)


ALL = sorted(FLOWS)
VARIED = list(choices())
CASES = [*ALL, *VARIED]
EACH_CHOICE = [*{case.partition(":")[2]: case for case in reversed(VARIED)}.values()]
"""Every choice once, with the first flow that takes it."""
FEW = ["none", "cholesky", "planar", "radial", "iaf", "maf"]
"""For what a flow takes no part in but by its contract, as an estimator."""


def swept(cases):
    """Cases, all but every registered flow and every choice once exhaustive."""
    return sweep(cases, lambda case, *_: case in ALL or case in EACH_CHOICE)


def small_options(name):
    """Narrow networks, where a flow has some."""
    return {option: value for option, value in SMALL.items() if option in options_of_flow(name)}


def small_flow(case, features, context=0, depth=1):
    """Build a flow of `CASES` with narrow networks."""
    name, _, choice = case.partition(":")
    chosen = dict([choice.split("=")]) if choice else {}
    return make_flow(name, features, context, depth, **small_options(name) | chosen)


def random_flow(case, features, context=0, depth=1, gain=1.0, dtype=torch.float64):
    """Build a flow and give it large random parameters: unit variance of every layer's output, times the gain."""
    flow = small_flow(case, features, context, depth).to(dtype).eval()  # batch normalization then treats data alone
    gain *= 0.5 if flow.steep else 1.0
    for parameter in flow.parameters():
        fan_in = parameter.shape[1] if parameter.ndim == 2 else 1
        torch.nn.init.normal_(parameter, std=gain / max(fan_in, 1) ** 0.5)
    return flow


def random_context(context, batch, dtype=torch.float64):
    return torch.randn(batch, context, dtype=dtype) if context else None


def has_parameters(case):
    return any(True for _ in small_flow(case, 2).parameters())
