"""The approximate posterior q(z|x): an encoder's diagonal Gaussian refined by a flow."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from nfvae.flows import FLOWS, DiagonalNormal, Flow, FlowDistribution, Given, check_context
from nfvae.models.encoders import ENCODERS, Encoder, Encoding
from nfvae.numerics import at_least_float32
from nfvae.registry import check_sizes

Options = Mapping[str, Any] | None
_OF_FLOW = "flow."  # prefix of the flow's tensors in `given`


class Posterior(nn.Module):
    """Encode images into q(z|x): the flow built from the context h refines z_0 ~ N(loc, scale²).

    As for a flow, `forward` has two steps that can be called separately: `given` returns every tensor that depends on
    the image, and `build` makes the density.

    Args:
        encoder: gives loc, log_scale and h.
        flow: flow with the encoder's latent size and context size.

    References:
        Variational Inference with Normalizing Flows, arXiv 1505.05770.
    """

    def __init__(self, encoder: Encoder, flow: Flow) -> None:
        super().__init__()
        self.encoder, self.flow = encoder, flow

    @override
    def forward(self, x: Tensor) -> FlowDistribution:
        """Return q(z|x) with batch shape (B,) for x with shape (B, P)."""
        return self.build(self.given(self.encode(x)))

    def encode(self, x: Tensor) -> Encoding:
        """Return the encoder's output for x with shape (B, P), at least float32."""
        return Encoding(*(at_least_float32(value) for value in self.encoder(x)))

    def given(self, encoding: Encoding) -> Given:
        """Return loc, log_scale and the flow's tensors that depend on the context, by name, each with B first."""
        given = {"loc": encoding.loc, "log_scale": encoding.log_scale}
        h = check_context(encoding.h, self.flow.context)
        if h is None:
            return given
        with self.flow.precision():
            return given | {f"{_OF_FLOW}{name}": value for name, value in self.flow.given(h).items()}

    def build(self, given: Given) -> FlowDistribution:
        """Build q(z|x) from the result of `given`, or from tensors of the same names and shapes."""
        base = DiagonalNormal(given["loc"], torch.exp(given["log_scale"]))
        own = {name.removeprefix(_OF_FLOW): value for name, value in given.items() if name.startswith(_OF_FLOW)}
        with self.flow.precision():
            return FlowDistribution(base, self.flow.build(own if self.flow.context else self.flow.given(None)))


def make_posterior(
    flow: str,
    depth: int,
    flow_options: Options,
    context: int,
    encoder: str,
    encoder_options: Options,
    latent: int,
    shape: Sequence[int],
) -> Posterior:
    """Build a posterior from names and numbers; `make_vae` describes the arguments.

    Raises:
        ValueError: for an unknown name or option, or a value out of range.
    """
    check_sizes(latent=latent, **{f"shape[{place}]": side for place, side in enumerate(shape)})
    made_flow = FLOWS.make(flow, flow_options, features=latent, context=context, depth=depth)
    return Posterior(ENCODERS.make(encoder, encoder_options, shape=shape, latent=latent, context=context), made_flow)


POSTERIOR = tuple(inspect.signature(make_posterior).parameters)
"""The settings that define a posterior's architecture."""
