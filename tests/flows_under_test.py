"""Flows with small networks and large random parameters, for the contract tests."""

import torch

from nfvae.flows import FLOWS, make_flow

CONTEXT = 3
SMALL = {"iaf": {"hidden": 12}, "maf": {"hidden": 12, "scale": "exp"}}


def random_flow(name, features, context=0, depth=1, gain=1.0, dtype=torch.float64):
    """Build a flow and give it large random parameters: unit variance of every layer's output, times the gain."""
    flow = make_flow(name, features, context, depth, **SMALL.get(name, {})).to(dtype)
    for parameter in flow.parameters():
        fan_in = parameter.shape[1] if parameter.ndim == 2 else 1
        torch.nn.init.normal_(parameter, std=gain / max(fan_in, 1) ** 0.5)
    return flow


def random_context(context, batch, dtype=torch.float64):
    return torch.randn(batch, context, dtype=dtype) if context else None


def with_parameters(name):
    return name != "none"


def without_feedback(name):
    """The direction whose output does not run through the layer again, coordinate by coordinate."""
    return "inverse_and_log_det" if name == "maf" else "forward_and_log_det"


ALL = sorted(FLOWS)
