"""Decoders by name. To add one, write a file in this folder and a line in `DECODERS`."""

from nfvae.models.decoders.base import Decoder, ImageDecoder, TrunkDecoder
from nfvae.registry import Registry

__all__ = ["DECODERS", "Decoder", "ImageDecoder", "TrunkDecoder"]

DECODERS = Registry(
    "decoder",
    Decoder,  # type: ignore[type-abstract]
    {
        "conv": "nfvae.models.decoders.conv:ConvDecoder",
        "gated": "nfvae.models.decoders.gated:GatedDecoder",
        "mlp": "nfvae.models.decoders.mlp:MLPDecoder",
        "resnet": "nfvae.models.decoders.resnet:ResNetDecoder",
    },
)
