"""What the parts of a VAE owe each other, tried on two images before a training begins."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from nfvae.flows import Bijection, Flow
from nfvae.models.encoders import Encoding
from nfvae.models.vae import VAE, LogTerms

_IMAGES, _SAMPLES = 2, 3
_ROUND_TRIP = 0.1  # by which a point may miss itself after a flow and its inverse


def check_vae(model: VAE, pixels: int, objective: Callable[[LogTerms], Tensor]) -> None:
    """Refuse a VAE whose parts do not fit each other, saying which part gives what.

    Args:
        model: the VAE.
        pixels: P, of an image.
        objective: what is made of its log-densities.

    Raises:
        ValueError: for such a part, or one that fails.
    """
    flow, encoder, dtype = model.posterior.flow, model.posterior.encoder, next(model.parameters()).dtype
    training = {module: module.training for module in model.modules()}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        model.eval()
        x = torch.zeros(_IMAGES, pixels, dtype=dtype)
        encoded = _result("encoder", encoder, encoder, x)
        if not isinstance(encoded, tuple) or len(encoded) != len(Encoding._fields):
            count = f"{len(encoded)} things" if isinstance(encoded, tuple) else type(encoded).__name__
            raise ValueError(f"encoder {_name(encoder)} gives {count}; expected {', '.join(Encoding._fields)}")
        encoding = Encoding(*encoded)
        _expect("encoder", encoder, "loc", encoding.loc, (_IMAGES, flow.features))
        _expect("encoder", encoder, "log_scale", encoding.log_scale, (_IMAGES, flow.features))
        if flow.context:
            _expect("encoder", encoder, "h", encoding.h, (_IMAGES, flow.context))
        z = check_flow(flow, encoding.h, _points((_SAMPLES, _IMAGES, flow.features)).to(dtype))
        decoder, prior = model.decoder, model.prior
        likelihood = _result("decoder", decoder, lambda z: decoder(z).log_prob(x), z)
        _expect("decoder", decoder, "log_prob", likelihood, (_SAMPLES, _IMAGES))
        mean = _result("decoder", decoder, lambda z: decoder(z).mean, z)
        _expect("decoder", decoder, "mean", mean, (_SAMPLES, _IMAGES, pixels))
        log_prior = _result("prior", prior, lambda z: prior().log_prob(z), z)
        _expect("prior", prior, "log_prob", log_prior, (_SAMPLES, _IMAGES))
        terms = LogTerms(*[torch.zeros(_SAMPLES, _IMAGES)] * 4)
        _expect("objective", objective, "its value", _result("objective", objective, objective, terms), ())
    for module, was_training in training.items():
        module.training = was_training


def _points(shape: Sequence[int]) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def check_flow(flow: Flow, h: Tensor | None = None, z: Tensor | None = None) -> Tensor:
    """Refuse a flow whose bijection gives wrong shapes or is not undone by its inverse, and return the mapped points.

    Args:
        flow: the flow.
        h: contexts with shape (B, C); ignored where C = 0.
        z: points with shape (*, D), broadcast against h; by default some of a standard normal.

    Raises:
        ValueError: for such a flow, or one that fails.
    """
    z = _points((_SAMPLES, flow.features)) if z is None else z
    bijection = _result("flow", flow, flow, h)
    if not isinstance(bijection, Bijection):
        raise ValueError(f"flow {_name(flow)} gives {type(bijection).__name__}; expected a Bijection")
    y, log_det = _result("flow", flow, bijection.forward_and_log_det, z)
    _expect("flow", flow, "points", y, z.shape)
    _expect("flow", flow, "log-determinants", log_det, z.shape[:-1])
    back, log_det = _result("flow", flow, bijection.inverse_and_log_det, y)
    _expect("flow", flow, "inverse points", back, z.shape)
    _expect("flow", flow, "inverse log-determinants", log_det, z.shape[:-1])
    if (miss := float((back - z).abs().max())) > _ROUND_TRIP:
        raise ValueError(f"flow {type(flow).__name__}: its inverse misses a point by {miss:.2g}: it is not invertible")
    points: Tensor = y
    return points


def _result(role: str, part: object, call: Callable[..., Any], *given: Any) -> Any:
    try:
        return call(*given)
    except Exception as error:  # whatever a class of the user's own raises
        raise ValueError(f"{role} {_name(part)} fails: {error or type(error).__name__}") from error


def _expect(role: str, part: object, what: str, value: Any, shape: Sequence[int]) -> None:
    got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
    if got != tuple(shape):
        raise ValueError(f"{role} {_name(part)} gives {what} with shape {got}; expected {tuple(shape)}")


def _name(part: object) -> str:
    return getattr(part, "__name__", type(part).__name__)
