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
_OF_FLOW = "flow."  # before the names of what the flow is given


class Posterior(nn.Module):
    """Encode images into q(z|x): the flow built from the context h refines z_0 ~ N(loc, scale²).

    Like a flow's, its `forward` has two steps, which can be taken apart: `given` says all that an image decides, and
    `build` makes the density of that.

    Args:
        encoder: gives loc, log_scale and h.
        flow: of as many features as the encoder has latents, and of its context.

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
        """Return what the encoder says of x with shape (B, P), at least float32."""
        return Encoding(*(at_least_float32(value) for value in self.encoder(x)))

    def given(self, encoding: Encoding) -> Given:
        """Return loc, log_scale and all that the flow computes from the context, by name, each with B first."""
        given = {"loc": encoding.loc, "log_scale": encoding.log_scale}
        h = check_context(encoding.h, self.flow.context)
        if h is None:
            return given
        with self.flow.precision():
            return given | {f"{_OF_FLOW}{name}": value for name, value in self.flow.given(h).items()}

    def build(self, given: Given) -> FlowDistribution:
        """Return q(z|x) made of what `given` returns, or of tensors of the same names and shapes."""
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
    """Build a posterior from names and numbers alone: see `make_vae`, which has their defaults.

    Raises:
        ValueError: for an unknown name or option, or a value out of range.
    """
    check_sizes(latent=latent, **{f"shape[{place}]": side for place, side in enumerate(shape)})
    made_flow = FLOWS.make(flow, flow_options, features=latent, context=context, depth=depth)
    return Posterior(ENCODERS.make(encoder, encoder_options, shape=shape, latent=latent, context=context), made_flow)


POSTERIOR = tuple(inspect.signature(make_posterior).parameters)
"""The settings that decide what a posterior's weights are."""
