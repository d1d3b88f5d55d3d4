"""Bernoulli pixels: the quick way to log p(x|z) against PyTorch's own."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, Independent
from torch.nn.functional import binary_cross_entropy_with_logits

from nfvae import elbo, make_vae
from nfvae.models import DECODERS, DataSpec, Decoder, Statistics
from nfvae.models.likelihoods import LIKELIHOODS
from nfvae.models.likelihoods import bernoulli as likelihood
from nfvae.models.likelihoods.bernoulli import BernoulliPixels
from nfvae.models.likelihoods.own import OwnLikelihood
from tests.helpers.models import binary, small_vae


def log_prob(logits, x):
    return -binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)


@pytest.mark.parametrize("shape", [(7, 30), (1, 7, 30), (11, 7, 30), (2, 3, 7, 30)])
@pytest.mark.parametrize("cached", [1, 45, 200, 10**9])
@pytest.mark.parametrize("gray", [False, True])
def test_value_and_gradient_are_those_of_pytorch_in_blocks_of_any_size(shape, cached, gray, monkeypatch):
    monkeypatch.setattr(likelihood, "_IN_CACHE", cached)
    logits = (5 * torch.randn(shape, dtype=torch.float64)).requires_grad_()
    x = torch.rand(7, 30, dtype=torch.float64)
    x = x if gray else x.round()
    found, expected = BernoulliPixels(logits).log_prob(x), log_prob(logits, x)
    torch.testing.assert_close(found, expected)
    weights = torch.randn(shape[:-1], dtype=torch.float64)
    torch.testing.assert_close(*(torch.autograd.grad(each, logits, weights) for each in (found, expected)))


def test_the_largest_logits_cost_nothing_and_the_smallest_are_exact():
    logits = torch.tensor([[80.0, -80.0, 1e-30, 0.0] * 30])
    for x in (torch.tensor([[1.0, 0.0, 1.0, 0.0] * 30]), torch.tensor([[0.0, 1.0, 1.0, 0.0] * 30])):
        torch.testing.assert_close(BernoulliPixels(logits).log_prob(x), log_prob(logits, x))


@pytest.mark.parametrize("shape", [(0, 784), (3, 0, 784), (0, 5, 784), (5, 0)])
def test_nothing_has_no_or_probability_one(shape):
    assert torch.equal(BernoulliPixels(torch.zeros(shape)).log_prob(torch.zeros(shape[-2:])), torch.zeros(shape[:-1]))


def test_a_logit_as_large_as_it_can_be_costs_nothing_or_everything():
    log_prob = BernoulliPixels(torch.full((2, 3), 3e38)).log_prob(torch.tensor([[1.0] * 3, [0.0] * 3]))
    assert log_prob.tolist() == [0.0, -torch.inf]


def test_second_derivatives_are_there(monkeypatch):
    monkeypatch.setattr(likelihood, "_IN_CACHE", 10)
    logits, x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True), torch.rand(3, 6).double().round()
    assert torch.autograd.gradgradcheck(lambda value: BernoulliPixels(value).log_prob(x), logits)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_of_16_bits_are_the_logits_alone(dtype, monkeypatch):
    monkeypatch.setattr(likelihood, "_IN_CACHE", 100)
    logits, x = torch.randn(4, 7, 30).to(dtype).requires_grad_(), torch.rand(7, 30).round()
    pixels = BernoulliPixels(logits)
    assert pixels.log_prob(x).dtype == pixels.mean.dtype == torch.float32
    torch.testing.assert_close(pixels.log_prob(x), log_prob(logits.float(), x))
    (grad,) = torch.autograd.grad(pixels.log_prob(x).sum(), logits)
    torch.testing.assert_close(grad, (x - torch.sigmoid(logits.float())).to(dtype))


def test_likelihood_is_exact_where_probabilities_saturate():
    vae = make_vae("none", 1, context=0, shape=(3,), latent=2)
    with torch.no_grad():
        vae.decoder.head.weight.zero_()
        vae.decoder.head.bias.copy_(torch.tensor([3200.0, -3200.0, 0.0]))
    wrong = vae.decode(torch.zeros(1, 2)).log_prob(torch.tensor([[0.0, 0.0, 1.0]]))
    torch.testing.assert_close(wrong, torch.tensor([-3200.0 - math.log(2)]))


@pytest.mark.parametrize("pixels", [1, 7, 127, 784])
def test_pixels_have_the_density_and_the_gradient_of_bernoulli_variables(pixels):
    x = torch.bernoulli(torch.full((5, pixels), 0.4, dtype=torch.float64))
    ours, theirs = (10 * torch.randn(3, 5, pixels, dtype=torch.float64).requires_grad_() for _ in range(2))
    theirs.data.copy_(ours.data)
    log_prob = BernoulliPixels(ours).log_prob(x)
    expected = Bernoulli(logits=theirs).log_prob(x).sum(-1)
    torch.testing.assert_close(log_prob, expected)
    weights = torch.randn(3, 5, dtype=torch.float64)
    torch.testing.assert_close(
        torch.autograd.grad(log_prob, ours, weights), torch.autograd.grad(expected, theirs, weights)
    )
    uncertain = BernoulliPixels(torch.zeros(pixels)).log_prob(torch.ones(pixels))
    torch.testing.assert_close(uncertain, torch.tensor(-pixels * math.log(2)))


@pytest.mark.parametrize("cached", [45, 10**9])
@pytest.mark.parametrize("shape", [(7, 30), (11, 7, 30), (30,)])
def test_pixels_receive_their_gradient_too(shape, cached, monkeypatch):
    monkeypatch.setattr(likelihood, "_IN_CACHE", cached)
    logits = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    x = torch.rand(7, 30, dtype=torch.float64, requires_grad=True)
    found, expected = (
        BernoulliPixels(logits).log_prob(x),
        (x * logits).sum(-1) - torch.nn.functional.softplus(logits).sum(-1),
    )
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(found)
    for of in ((x,), (x, logits), (logits,)):
        torch.testing.assert_close(
            *(torch.autograd.grad(each, of, weights, retain_graph=True) for each in (found, expected))
        )


def test_the_elbo_has_a_gradient_in_the_pixels():
    vae, x = small_vae().double(), binary(1).double()

    def value(x):
        torch.manual_seed(0)
        return elbo(vae(x))

    assert torch.autograd.gradcheck(value, x.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64])
def test_pixels_of_whole_numbers_are_what_they_say(dtype):
    logits, x = torch.randn(4, 5, 30), torch.rand(5, 30).round()
    assert torch.equal(BernoulliPixels(logits).log_prob(x.to(dtype)), BernoulliPixels(logits).log_prob(x))


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("decoder", ["mlp", "gated", "conv", "resnet"])
def test_a_decoder_gives_as_many_numbers_as_the_likelihood_takes(decoder, outputs):
    """Each number of x has its own outputs: what one image's pixel says is found at its place."""
    network = DECODERS.make(decoder, latent=2, shape=(6, 5), outputs=outputs)
    assert network(torch.zeros(7, 4, 2)).shape == (7, 4, outputs, 30)
    bias = torch.arange(outputs * 30.0).view(outputs, 30)
    network.init_output_bias(bias)
    found = network(torch.zeros(2, 2))
    before = DECODERS.make(decoder, latent=2, shape=(6, 5), outputs=outputs)
    before.load_state_dict(network.state_dict())
    before.output_bias.data.zero_()
    torch.testing.assert_close(found - before(torch.zeros(2, 2)), bias.expand(2, -1, -1), atol=1e-4, rtol=1e-4)


def test_bernoulli_takes_binary_data_only():
    for levels, kind in ((256, " with 256 levels"), (None, " of real numbers")):
        with pytest.raises(ValueError, match=rf"takes binary data; got vectors of shape \[3\]{kind}"):
            make_vae(shape=(3,), levels=levels)
    likelihood = LIKELIHOODS.make("bernoulli", spec=DataSpec((2, 2)))
    with pytest.raises(ValueError, match=r"expected binary images; got values from 0 to 0\.5"):
        likelihood.check(torch.tensor([[0.0, 0.5, 0.0, 0.0]]))
    start = likelihood.start(Statistics(torch.tensor([0.0, 0.5, 0.9, 1.0]), torch.zeros(4)))
    torch.testing.assert_close(start.sigmoid(), torch.tensor([[1e-3, 0.5, 0.9, 1 - 1e-3]]))


def test_data_say_their_form():
    assert str(DataSpec((28, 28))) == "[28, 28]"
    assert str(DataSpec((3, 32, 32), 256)) == "[3, 32, 32] with 256 levels"
    assert (DataSpec((8,), None).size, DataSpec((8,), None).noun, DataSpec((3, 4, 4)).noun) == (8, "vectors", "images")


@pytest.mark.parametrize("shape", [(7, 1), (7, 4), ()])
def test_data_of_another_size_have_no_density(shape):
    with pytest.raises(ValueError, match=r"expected data with shape \(\*, 3\); got"):
        BernoulliPixels(torch.zeros(7, 3)).log_prob(torch.zeros(shape))


def test_a_density_of_fewer_pixels_is_refused():
    class FirstPixel(Decoder):
        def forward(self, z):
            return Independent(Bernoulli(logits=z[..., :1]), 1)

    vae = small_vae()
    vae.decoder, vae.likelihood = FirstPixel(), OwnLikelihood()
    with pytest.raises(ValueError, match=r"p\(x\|z\) with event shape \(\d+,\); got \(1,\)"):
        vae(binary(3))
