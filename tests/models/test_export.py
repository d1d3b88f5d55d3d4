"""`torch.export` of decoders and posteriors, for batches of any size."""

import sys

import pytest
import torch
from torch import nn
from torch.export import Dim, export

from nfvae import make_vae
from tests.helpers.flows import ALL, FEW, small_options
from tests.helpers.sweeps import first, sweep

linear = sys.modules["nfvae.networks.linear"]


class Decode(nn.Module):
    def __init__(self, vae):
        super().__init__()
        self.vae = vae

    def forward(self, z):
        return torch.sigmoid(self.vae.decode(z).logits)


class Encode(nn.Module):
    def __init__(self, vae):
        super().__init__()
        self.posterior = vae.posterior

    def forward(self, x, noise):
        return self.posterior(x).from_noise(noise).z


class Score(nn.Module):
    def __init__(self, vae):
        super().__init__()
        self.vae = vae

    def forward(self, z, x):
        return self.vae.decode(z).log_prob(x)


def exported(module, *shapes):
    given = [torch.rand(3, *shape).round() for shape in shapes]
    batch = Dim("batch", min=2, max=4096)
    with torch.no_grad():
        program = export(module, tuple(given), dynamic_shapes=tuple({0: batch} for _ in given)).module()
    for size in (2, 5, 300):
        given = [torch.rand(size, *shape).round() for shape in shapes]
        torch.testing.assert_close(program(*given), module(*given), atol=1e-5, rtol=1e-4)


@pytest.fixture(autouse=True)
def _product_that_pays_from_some_size(monkeypatch):
    """As on a processor where large products take another way."""
    monkeypatch.setattr(linear, "_LEAST", 20_000)


@pytest.mark.parametrize("decoder", first(["mlp", "gated", "conv", "resnet"], 2))
def test_decoders(decoder):
    vae = make_vae("none", 1, latent=8, context=4, shape=[8, 8], decoder=decoder).eval()
    exported(Decode(vae), (8,))
    exported(Score(vae), (8,), (64,))


@pytest.mark.parametrize("flow", sweep(sorted({*ALL} - {"zuko"}), lambda flow: flow in FEW))
def test_posteriors(flow):
    options = small_options(flow)
    vae = make_vae(flow, 2, options, latent=4, context=4, shape=[8, 8], encoder_options={"hidden": [16]}).eval()
    exported(Encode(vae), (64,), (4,))
