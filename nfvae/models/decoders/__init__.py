"""Decoders by name. Adding one is a file beside this one and a line in `DECODERS`."""

from nfvae.models.decoders.base import Decoder
from nfvae.registry import Registry

__all__ = ["DECODERS", "Decoder"]

DECODERS = Registry(
    "decoder",
    Decoder,  # type: ignore[type-abstract]
    {
        "mlp": "nfvae.models.decoders.mlp:MLPDecoder",
    },
)
