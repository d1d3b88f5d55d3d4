"""Encoders and decoders by name: shapes, starts, sizes of images."""

import pytest
import torch

from nfvae.models import DECODERS, ENCODERS, Statistics, make_vae
from nfvae.models.encoders.base import softly_between
from nfvae.networks import Gated, gated_mlp

NAMES = ["conv", "gated", "mlp", "resnet"]


def test_every_network_is_tried():
    assert sorted(ENCODERS) == sorted(DECODERS) == NAMES


@pytest.mark.parametrize("shape", [(28, 28), (9, 6), (1, 1), (20, 16)])
@pytest.mark.parametrize("name", NAMES)
def test_images_of_any_height_and_width_are_encoded_and_decoded(name, shape):
    vae, pixels = (
        make_vae("planar", 1, context=2, encoder=name, decoder=name, shape=shape, latent=3),
        shape[0] * shape[1],
    )
    x = torch.bernoulli(torch.full((4, pixels), 0.3))
    terms = vae(x, 2)
    assert vae.posterior(x).base.loc.shape == (4, 3)
    assert vae.decode(torch.zeros(2, 5, 3)).mean.shape == (2, 5, pixels)
    assert terms.likelihood.shape == (2, 4)
    assert terms.likelihood.mean() > -pixels
    terms.log_weight.mean().backward()
    trained = [parameter for parameter in vae.parameters() if parameter.grad is not None]
    assert len(trained) == len(list(vae.parameters()))


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_encoded_and_decoded_as_its_images_alone(name):
    vae = make_vae("planar", 1, context=2, encoder=name, decoder=name, shape=(8, 8), latent=3).double()
    x, z = torch.bernoulli(torch.full((4, 64), 0.3)).double(), torch.randn(2, 4, 3).double()
    alone = [torch.cat(each) for each in zip(*(vae.posterior.encoder(one[None]) for one in x), strict=True)]
    for one, other in zip(vae.posterior.encoder(x), alone, strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(vae.decode(z).mean[1, 2], vae.decode(z[1, 2]).mean)


@pytest.mark.parametrize("name", NAMES)
def test_a_decoder_starts_from_the_pixel_means(name):
    vae, means = make_vae("none", 1, context=0, decoder=name, shape=(8, 8), latent=3), torch.rand(64)
    vae.init_from(Statistics(means, means))
    assert (vae.decode(torch.randn(100, 3)).mean.mean(0) - means).abs().mean() < 0.1


def test_a_gate_is_the_sigmoid_of_the_other_half():
    layer = gated_mlp(5, [3])[0]
    x = torch.randn(2, 5)
    out, gate = layer.layer(x).split(3, -1)
    torch.testing.assert_close(layer(x), out * torch.sigmoid(gate))
    image, convolution = torch.randn(2, 1, 4, 4), Gated(torch.nn.Conv2d(1, 6, 3))
    out, gate = convolution.layer(image).split(3, 1)
    torch.testing.assert_close(convolution(image), out * torch.sigmoid(gate))


@pytest.mark.parametrize("name", ["gated", "mlp"])
def test_an_encoder_leaves_out_inputs_in_training_alone(name):
    vae = make_vae("none", 1, encoder=name, encoder_options={"dropout": 0.3}, shape=(8, 8), latent=3)
    x = torch.ones(2, 64)
    encode = vae.posterior.encoder
    assert not torch.equal(encode(x).loc, encode(x).loc)
    assert len([module for module in encode.modules() if isinstance(module, torch.nn.Dropout)]) == 2  # one a layer
    vae.eval()
    assert torch.equal(encode(x).loc, encode(x).loc)


def test_log_scales_are_clamped_without_a_kink():
    values = torch.linspace(-20, 20, 401, dtype=torch.float64, requires_grad=True)
    clamped = softly_between(values, -7, 3)
    (slope,) = torch.autograd.grad(clamped.sum(), values)
    assert ((clamped >= -7) & (clamped <= 3)).all()
    assert (slope[1:-1] > 0).all()
    middle = (values > -4) & (values < 0)
    torch.testing.assert_close(clamped[middle], values[middle], rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"encoder": "conv", "shape": (12,)},
            r"convolutions take images of height and width; these data have shape \[12\]",
        ),
        ({"decoder": "resnet", "shape": (3, 4, 5, 6)}, "convolutions take images of height and width"),
        ({"encoder": "mlp", "encoder_options": {"dropout": 1.0}}, "dropout must be at most 0.9; got 1.0"),
        ({"encoder": "conv", "encoder_options": {"channels": 0}}, "channels must be at least 1; got 0"),
        (
            {"encoder": "gated", "encoder_options": {"activation": "relu"}},
            "unknown option 'activation' of encoder 'gated'",
        ),
        ({"decoder": "gated", "decoder_options": {"hidden": []}}, "hidden takes the widths of the layers"),
        ({"decoder": "resent"}, "unknown decoder 'resent'.*did you mean resnet"),
    ],
)
def test_what_does_not_fit_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make_vae(**settings)
