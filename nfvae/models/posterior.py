"""The approximate posterior q(z|x): an encoder's diagonal Gaussian refined by a flow."""

import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from nfvae.flows import FLOWS, DiagonalNormal, Flow, FlowDistribution, Given, check_context
from nfvae.models.encoders import ENCODERS, Encoder, Encoding
from nfvae.models.inputs import Inputs
from nfvae.models.likelihoods import DataSpec
from nfvae.numerics import at_least_float32
from nfvae.registry import check_choice, check_flag, check_number, check_sizes

Options = Mapping[str, Any] | None
CONDITIONED = ("encoder", "flow", "prior", "decoder")
"""Parts of a VAE that can see the condition of the data, such as a label."""
_OF_FLOW = "flow."  # prefix of the flow's tensors in `given`


class Posterior(nn.Module):
    """Encode data into q(z|x): the flow built from the context h refines z_0 ~ N(loc, scale²).

    As for a flow, `forward` has two steps that can be called separately: `given` returns every tensor that depends on
    the datum, and `build` makes the density.

    Args:
        encoder: gives loc, log_scale and h.
        flow: flow with the encoder's context size, plus that of the conditions if it sees them.
        inputs: prepares data for the encoder; None if it takes them as they are.
        conditioned: whether the flow's context is h and the conditions.

    References:
        Variational Inference with Normalizing Flows, arXiv 1505.05770.
    """

    def __init__(self, encoder: Encoder, flow: Flow, inputs: Inputs | None = None, conditioned: bool = False) -> None:
        super().__init__()
        self.encoder, self.flow, self.inputs, self.conditioned = encoder, flow, inputs, conditioned

    @override
    def forward(self, x: Tensor) -> FlowDistribution:
        """Return q(z|x) with batch shape (B,) for rows of data with shape (B, P + C)."""
        return self.build(self.given(self.encode(x)))

    def encode(self, x: Tensor) -> Encoding:
        """Return the encoder's output for rows with shape (B, P + C), at least float32; h includes conditions."""
        encoded = self.encoder(x if self.inputs is None else self.inputs(x))
        encoding = Encoding(*(at_least_float32(value) for value in encoded))
        if not self.conditioned or self.inputs is None:
            return encoding
        return encoding._replace(h=torch.cat([encoding.h, x[..., self.inputs.spec.size :]], -1))

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
    levels: int | None = 2,
    conditions: int = 0,
    missing: bool = False,
    conditioned: Collection[str] = (),
) -> Posterior:
    """Build a posterior from names and numbers; `make_vae` describes the arguments.

    Raises:
        ValueError: for an unknown name or option, or a value out of range.
    """
    check_sizes(latent=latent, **{f"shape[{place}]": side for place, side in enumerate(shape)})
    spec = make_spec(shape, levels, conditions, missing, conditioned)
    kind = ENCODERS.load(encoder)
    inputs = Inputs(spec, "encoder" in conditioned, getattr(kind, "takes_images", False))
    sees_condition = bool(conditions) and "flow" in conditioned
    size = context + conditions * sees_condition
    made_flow = FLOWS.make(flow, flow_options, features=latent, context=size, depth=depth)
    made = ENCODERS.make(encoder, encoder_options, shape=[*inputs.shape], latent=latent, context=context)
    return Posterior(made, made_flow, inputs, sees_condition)


def make_spec(
    shape: Sequence[int], levels: int | None, conditions: int, missing: bool, conditioned: Collection[str]
) -> DataSpec:
    """Return the form of the data, checked together with the names of conditioned parts.

    Raises:
        ValueError: for a value out of range or an unknown part.
    """
    if levels is not None:
        check_sizes(levels=levels)
        check_number("levels", levels, least=2)
    check_number("conditions", conditions, least=0)
    check_flag("missing", missing)
    if isinstance(conditioned, str):
        raise ValueError(f"conditioned takes a list of {', '.join(CONDITIONED)}; got {conditioned!r}")
    for part in conditioned:
        check_choice("conditioned part", part, CONDITIONED)
    return DataSpec(tuple(shape), levels, conditions, missing)


POSTERIOR = tuple(inspect.signature(make_posterior).parameters)
"""The settings that define a posterior's architecture."""
