"""Check on two images, before training begins, that the parts of a VAE fit together."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from nfvae.flows import Bijection, Flow
from nfvae.models.encoders import Encoding
from nfvae.models.likelihoods import DataSpec
from nfvae.models.modes import evaluating
from nfvae.models.vae import VAE, LogTerms

_IMAGES, _SAMPLES = 2, 3
_ROUND_TRIP = 0.1  # largest error of a point after a flow and its inverse
_SAME = 1e-4  # largest difference of numbers that batches of different sizes round differently


def check_vae(model: VAE, spec: DataSpec, objective: Callable[[LogTerms], Tensor]) -> None:
    """Refuse a VAE whose parts do not fit together, naming the part and its output.

    Args:
        model: the VAE.
        spec: form of the data.
        objective: training objective of its log-densities.

    Raises:
        ValueError: for a part that does not fit or fails.
    """
    flow, encoder, dtype = model.posterior.flow, model.posterior.encoder, next(model.parameters()).dtype
    with evaluating(model), torch.random.fork_rng(devices=[]):
        x = torch.arange(_IMAGES, dtype=dtype)[:, None].repeat(1, spec.width)  # images that differ
        inputs = model.posterior.inputs
        encoded = _result("encoder", encoder, encoder, x if inputs is None else inputs(x))
        if not isinstance(encoded, tuple) or len(encoded) != len(Encoding._fields):
            fields = ", ".join(Encoding._fields)
            raise ValueError(f"encoder {_name(encoder)} gives {_described(encoded)}; expected {fields}")
        encoding = Encoding(*encoded)
        _expect("encoder", encoder, "loc", encoding.loc, (_IMAGES, flow.features))
        _expect("encoder", encoder, "log_scale", encoding.log_scale, (_IMAGES, flow.features))
        conditions = spec.conditions if model.posterior.conditioned else 0
        if flow.context:
            _expect("encoder", encoder, "h", encoding.h, (_IMAGES, flow.context - conditions))
        z = check_flow(flow, model.posterior.encode(x).h, _points((_SAMPLES, _IMAGES, flow.features)).to(dtype))
        _check_likelihood(model, z, x)
        prior = model.prior
        for flow in [each for each in prior.modules() if isinstance(each, Flow) and not each.context]:
            check_flow(flow)
        log_prior = _result("prior", prior, lambda z: model.prior_of(x).log_prob(z), z)
        _expect("prior", prior, "log_prob", log_prior, (_SAMPLES, _IMAGES))
        terms = LogTerms(*[torch.zeros(_SAMPLES, _IMAGES)] * 4)
        _expect("objective", objective, "its value", _result("objective", objective, objective, terms), ())


def _check_likelihood(model: VAE, z: Tensor, x: Tensor) -> None:
    """Refuse a decoder and a likelihood that do not give p(x|z) for latents and rows of data that belong together."""
    decoder, likelihood, batch = model.decoder, model.likelihood, z.shape[:-1]
    x, condition = model.split(x)
    pixels = x.shape[-1]
    raw = _result("decoder", decoder, decoder, model.decoder_input(z, condition))
    if likelihood.outputs and isinstance(raw, Distribution):
        raise ValueError(
            f"decoder {_name(decoder)} gives a distribution, {_name(raw)}; expected numbers: "
            "--model.likelihood own takes a decoder that gives p(x|z) itself"
        )
    if likelihood.outputs:
        _expect("decoder", decoder, "numbers", raw, (*batch, likelihood.outputs, pixels))
    role, part = ("likelihood", likelihood) if likelihood.outputs else ("decoder", decoder)
    _expect(role, part, "log_prob", _result(role, part, lambda raw: likelihood(raw).log_prob(x), raw), batch)
    _expect(role, part, "mean", _result(role, part, lambda raw: likelihood(raw).mean, raw), (*batch, pixels))


def _points(shape: Sequence[int]) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def check_flow(flow: Flow, h: Tensor | None = None, z: Tensor | None = None) -> Tensor:
    """Refuse a flow whose map is not a bijection; return the mapped points.

    It checks shapes, that the inverse undoes the map, and that log-determinants cancel. For a user's flow it also
    checks that a point is mapped alike in any batch, and the log-determinant against the Jacobian.

    Args:
        flow: the flow.
        h: contexts with shape (B, C); ignored where C = 0.
        z: points with shape (*, D), broadcast against h; by default standard normal samples.

    Raises:
        ValueError: for a flow that fails or is not a bijection.
    """
    with evaluating(flow):
        return _checked(flow, h, _points((_SAMPLES, flow.features)) if z is None else z)


def _checked(flow: Flow, h: Tensor | None, z: Tensor) -> Tensor:
    if type(flow).forward is not Flow.forward:
        raise ValueError(f"flow {_name(flow)} has a forward of its own; write given and build, which forward calls")
    bijection = _result("flow", flow, flow, h)
    if not isinstance(bijection, Bijection):
        raise ValueError(f"flow {_name(flow)} gives {type(bijection).__name__}; expected a Bijection")
    if bijection.exact != flow.exact:
        raise ValueError(f"flow {_name(flow)} has exact = {flow.exact}, its bijection {bijection.exact}: one is wrong")
    y, log_det = _mapped(flow, bijection.forward_and_log_det, z, "")
    back, inverse_log_det = _mapped(flow, bijection.inverse_and_log_det, y, "inverse ")
    if (miss := float((back - z).abs().max())) > _ROUND_TRIP:
        raise ValueError(f"flow {_name(flow)}: its inverse misses a point by {miss:.2g}: it is not invertible")
    if (miss := float((log_det + inverse_log_det).abs().max())) > _ROUND_TRIP:
        raise ValueError(f"flow {_name(flow)}: log-determinants of forward and inverse do not cancel, by {miss:.2g}")
    if not type(flow).__module__.startswith("nfvae."):  # nfvae's own are tested, and forty gradients take time
        _check_jacobian(flow, bijection, z, y, log_det)
        if h is not None and flow.context and z.shape[-2:-1] == h.shape[:1]:
            _check_given(flow, h, z, y)
    return y


def _check_given(flow: Flow, h: Tensor, z: Tensor, y: Tensor) -> None:
    """Refuse a flow whose `given` is not a dict of per-image tensors, or does not determine an image's map."""
    given = flow.given(h)
    if not isinstance(given, Mapping):
        raise ValueError(f"flow {_name(flow)}: given returns {type(given).__name__}; expected a dict of tensors")
    for name, value in given.items():
        if not isinstance(value, Tensor) or not value.is_floating_point():
            kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"flow {_name(flow)}: given has {name} of {kind}; expected floating numbers: see build")
        if value.shape[:1] != h.shape[:1]:
            got = f"given has {name} with shape {tuple(value.shape)}"
            raise ValueError(
                f"flow {_name(flow)}: {got}; it should begin with the batch, {tuple(h.shape[:1])}: "
                "what is the same for all images belongs into build"
            )
    for name, value in flow.given(h[:1]).items():
        if not torch.allclose(value, given[name][:1], rtol=_SAME, atol=_SAME):
            raise ValueError(
                f"flow {_name(flow)}: {name} of an image in given depends on the other images of the batch"
            )
    flow.given(h[1:])  # state that a flow keeps from a context must not matter
    first = _result("flow", flow, flow.build, {name: value[:1] for name, value in given.items()})
    alone = _mapped(flow, first.forward_and_log_det, z[..., :1, :], "")[0]
    if float((alone - y[..., :1, :]).abs().max()) > _ROUND_TRIP:
        raise ValueError(f"flow {_name(flow)}: what is given of an image does not decide its map; build sees more")


def _check_jacobian(flow: Flow, bijection: Bijection, z: Tensor, y: Tensor, log_det: Tensor) -> None:
    """Refuse a flow that maps a point differently among its copies, or whose log-determinant is wrong."""
    point = z.flatten(0, -2)[-1]
    with torch.enable_grad():
        alone, jacobian = _differentiated(bijection, point.detach(), z.shape)
    if (miss := float((alone - y.flatten(0, -2)[-1]).abs().max())) > _ROUND_TRIP:
        raise ValueError(f"flow {_name(flow)} maps a point otherwise among other points, by {miss:.2g}")
    if (miss := float((torch.linalg.slogdet(jacobian)[1] - log_det.flatten()[-1]).abs())) > _ROUND_TRIP:
        raise ValueError(f"flow {_name(flow)}: its log-determinant differs from that of its Jacobian by {miss:.2g}")


def _differentiated(bijection: Bijection, point: Tensor, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Map copies of one point; return the image of the last copy and the Jacobian there."""
    point = point.requires_grad_()
    y = bijection.forward_and_log_det(point.expand(shape))[0].flatten(0, -2)[-1]
    rows = [torch.autograd.grad(each, point, retain_graph=True)[0] for each in y.unbind()]
    return y.detach(), torch.stack(rows)


def _mapped(flow: Flow, call: Callable[[Tensor], Any], points: Tensor, direction: str) -> tuple[Tensor, Tensor]:
    """Map points in one direction and check the result."""
    pair = _result("flow", flow, call, points)
    if not isinstance(pair, tuple) or len(pair) != 2:
        expected = f"{direction}points and log-determinants"
        raise ValueError(f"flow {_name(flow)} gives {_described(pair)}; expected {expected}")
    for what, value, shape in zip(("points", "log-determinants"), pair, (points.shape, points.shape[:-1]), strict=True):
        _expect("flow", flow, direction + what, value, shape)
        if value.dtype != points.dtype:
            raise ValueError(f"flow {_name(flow)} gives {direction}{what} of {value.dtype}; expected {points.dtype}")
        if not value.isfinite().all():
            raise ValueError(f"flow {_name(flow)} gives {direction}{what} that are not finite")
    return pair


def _described(value: Any) -> str:
    return f"{len(value)} things" if isinstance(value, tuple) else type(value).__name__


def _result(role: str, part: object, call: Callable[..., Any], *given: Any) -> Any:
    try:
        return call(*given)
    except Exception as error:  # anything that a user's class raises
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise ValueError(f"{role} {_name(part)} fails: {kind}{error}".rstrip(": ")) from error


def _expect(role: str, part: object, what: str, value: Any, shape: Sequence[int]) -> None:
    got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
    if got != tuple(shape):
        raise ValueError(f"{role} {_name(part)} gives {what} with shape {got}; expected {tuple(shape)}")


def _name(part: object) -> str:
    return getattr(part, "__name__", type(part).__name__)
