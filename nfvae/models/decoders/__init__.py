"""Decoders by name. Adding one is a file beside this one and a line in `DECODERS`."""

from nfvae.models.decoders.base import Decoder, TrunkDecoder
from nfvae.registry import Registry

__all__ = ["DECODERS", "Decoder", "TrunkDecoder"]

DECODERS = Registry(
    "decoder",
    Decoder,  # type: ignore[type-abstract]
    {
        "gated": "nfvae.models.decoders.gated:GatedDecoder",
        "mlp": "nfvae.models.decoders.mlp:MLPDecoder",
    },
)
