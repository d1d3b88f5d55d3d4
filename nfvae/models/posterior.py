"""The approximate posterior q(z|x): an encoder's diagonal Gaussian refined by a flow."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nfvae.flows import FLOWS, DiagonalNormal, Flow, FlowDistribution
from nfvae.models.encoders import ENCODERS, Encoder
from nfvae.numerics import at_least_float32
from nfvae.registry import check_sizes

Options = Mapping[str, Any] | None


class Posterior(nn.Module):
    """Encode images into q(z|x): the flow built from the context h refines z_0 ~ N(loc, scale²).

    Args:
        encoder: gives loc, log_scale and h.
        flow: of as many features as the encoder has latents, and of its context.

    References:
        Variational Inference with Normalizing Flows, arXiv 1505.05770.
    """

    def __init__(self, encoder: Encoder, flow: Flow) -> None:
        super().__init__()
        self.encoder, self.flow = encoder, flow

    def forward(self, x: Tensor) -> FlowDistribution:
        """Return q(z|x) with batch shape (B,) for x with shape (B, P)."""
        loc, log_scale, h = (at_least_float32(value) for value in self.encoder(x))
        return FlowDistribution(DiagonalNormal(loc, torch.exp(log_scale)), self.flow(h))


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
