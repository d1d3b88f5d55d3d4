"""Encoders by name. To add one, write a file in this folder and a line in `ENCODERS`."""

from nfvae.models.encoders.base import Encoder, Encoding, TrunkEncoder
from nfvae.registry import Registry

__all__ = ["ENCODERS", "Encoder", "Encoding", "TrunkEncoder"]

ENCODERS = Registry(
    "encoder",
    Encoder,  # type: ignore[type-abstract]
    {
        "conv": "nfvae.models.encoders.conv:ConvEncoder",
        "gated": "nfvae.models.encoders.gated:GatedEncoder",
        "mlp": "nfvae.models.encoders.mlp:MLPEncoder",
        "resnet": "nfvae.models.encoders.resnet:ResNetEncoder",
    },
)
