"""The model and its objectives against closed forms."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, Normal

from nfvae.estimators import (
    annealed_log_likelihood,
    elbo,
    inference_gaps,
    iwae,
    log_likelihood,
    make_objective,
    sandwich,
    simulate,
)
from nfvae.estimators.objectives import beta_at
from nfvae.models import LogTerms, Statistics, make_vae
from nfvae.numerics import log_mean_exp
from tests.helpers.flows import ALL
from tests.helpers.models import PIXELS, binary, constant_vae, exact_vae, small_vae


@pytest.mark.parametrize("samples", [1, 2, 7])
def test_every_bound_is_the_evidence_where_the_posterior_is_exact(samples):
    vae, decoder = exact_vae()
    x = decoder(torch.randn(5, 3, dtype=torch.float64)).sample()
    terms = vae(x, samples)
    evidence = decoder.evidence(x)
    torch.testing.assert_close(terms.log_weight, evidence.expand(samples, 5))
    torch.testing.assert_close(elbo(terms), evidence.mean())
    torch.testing.assert_close(iwae(terms), evidence.mean())


@pytest.mark.parametrize("name", ALL)
def test_a_constant_decoder_has_likelihood_one_half_per_pixel(name):
    """p(x|z) = 2^-P for every z, so log p(x) = -P ln 2, and the ELBO is that less the KL, whatever the flow."""
    with torch.no_grad():
        terms = constant_vae(name)(binary(3), 200_000)
    exact = -PIXELS * math.log(2)
    torch.testing.assert_close(terms.likelihood, torch.full_like(terms.likelihood, exact))
    weights = (terms.log_weight - exact).double().exp()
    error = weights.std(0) / len(weights) ** 0.5
    assert (error < 0.05).all()
    assert ((weights.mean(0) - 1).abs() < 4.5 * error).all()
    assert (terms.log_weight.mean(0) < exact).all()


def test_terms_have_their_shapes_and_meaning():
    vae, x = small_vae(), binary(5)
    terms = vae(x, 3)
    assert [term.shape for term in terms] == [(3, 5)] * 4
    torch.manual_seed(1)
    terms = vae(x, 1)
    torch.manual_seed(1)
    q = vae.posterior(x)
    z0 = q.base_dist.rsample((1,))
    z = q.bijection(z0)
    torch.testing.assert_close(terms.posterior, q.log_prob(z), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(terms.log_det, q.bijection.log_abs_det_jacobian(z0, z))
    torch.testing.assert_close(terms.prior, Normal(0.0, 1.0).log_prob(z).sum(-1))
    logits = vae.decoder.head(vae.decoder.trunk(z))
    torch.testing.assert_close(terms.likelihood, Bernoulli(logits=logits).log_prob(x).sum(-1))


def constant_terms(likelihood=-90.0, prior=-60.0, posterior=-40.0):
    return LogTerms(*(torch.full((2, 3), value, requires_grad=True) for value in (likelihood, prior, posterior, 0.0)))


def test_beta_weighs_the_kl_in_the_loss():
    terms = constant_terms()
    assert elbo(terms).item() == pytest.approx(-110)
    assert elbo(terms, beta=0.25).item() == pytest.approx(-95)
    elbo(terms, beta=0.25).backward()
    assert terms.prior.grad.sum() == pytest.approx(0.25)
    assert terms.posterior.grad.sum() == pytest.approx(-0.25)
    assert terms.likelihood.grad.sum() == pytest.approx(1.0)


def test_free_bits_cost_the_same_as_no_kl_and_stop_its_gradient():
    terms = constant_terms()
    assert elbo(terms, free_bits=30.0).item() == pytest.approx(-120)
    assert elbo(terms, free_bits=10.0).item() == pytest.approx(-110)
    elbo(terms, free_bits=30.0).backward()
    assert terms.prior.grad.abs().sum() == 0


def test_an_objective_passes_its_options_on():
    terms = constant_terms()
    assert make_objective("elbo", {"free_bits": 30.0})(terms).item() == pytest.approx(-120)
    assert make_objective("elbo", {"beta": 0.25})(terms).item() == pytest.approx(-95)
    objective = make_objective("elbo", {"warmup_epochs": 4, "beta": 0.5})
    objective.anneal(0, 2.0)
    assert objective(terms).item() == pytest.approx(-95)
    assert set(objective.metrics(terms.kl)) == {"beta"}
    assert objective.eval().metrics(terms.kl) == {}


def test_iwae_is_the_logarithm_of_the_mean_weight():
    terms = LogTerms(torch.tensor([[-1.0], [-3.0]]), torch.zeros(2, 1), torch.zeros(2, 1), torch.zeros(2, 1))
    assert iwae(terms).item() == pytest.approx(math.log((math.exp(-1) + math.exp(-3)) / 2))
    assert iwae(terms) > elbo(terms)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("linear", 0, 0.0), 1.0),
        (("linear", 0, 0.0, 0, 0.3), 0.3),
        (("linear", 0, 0.0, 4), 0.0),
        (("linear", 0, 1.0, 4), 0.25),
        (("linear", 0, 1.5, 4, 0.5), 0.1875),
        (("linear", 0, 9.0, 4), 1.0),
        (("by_steps", 0, 0.0), 0.01),
        (("by_steps", 5000, 0.0), 0.51),
        (("by_steps", 20000, 0.0), 1.0),
    ],
)
def test_beta_schedules(arguments, expected):
    assert beta_at(*arguments) == pytest.approx(expected)


def test_unknown_beta_schedule_is_refused():
    with pytest.raises(ValueError, match="unknown beta schedule 'cyclic'; known beta schedules: linear, by_"):
        beta_at("cyclic", 0, 0.0)


def test_decoder_starts_from_the_pixel_means_and_keeps_a_trained_bias():
    vae = make_vae("none", 1, context=0, shape=(3,), latent=2)
    means = torch.tensor([0.0, 0.5, 0.9])
    vae.init_from(Statistics(means, means))
    torch.testing.assert_close(torch.sigmoid(vae.decoder.head.bias), torch.tensor([1e-3, 0.5, 0.9]))
    vae.init_from(Statistics(torch.full((3,), 0.2), means))
    torch.testing.assert_close(torch.sigmoid(vae.decoder.head.bias)[2], torch.tensor(0.9))


def test_pictures_are_probabilities():
    vae = small_vae()
    for images in (vae.sample(6), vae.reconstruct(binary(6))):
        assert images.shape == (6, PIXELS)
        assert ((images > 0) & (images < 1)).all()


def two_layers(base, coupling, z):
    """log N(z_1) + log N(z_2 | z_1) by hand, of a Gaussian under one coupling of four latents."""
    maps = coupling.conditioner(z[..., :2])
    first = Normal(base.loc[..., :2], base.scale[..., :2]).log_prob(z[..., :2]).sum(-1)
    loc = maps.scale * base.loc[..., 2:] + maps.shift
    return first + Normal(loc, maps.scale * base.scale[..., 2:]).log_prob(z[..., 2:]).sum(-1)


def test_two_stochastic_layers_are_couplings():
    """q(z_1|x) q(z_2|x, z_1) and p(z_1) p(z_2|z_1) are settings of one latent vector, no class of their own."""
    small = {"hidden": 8}
    prior = {"flow": "realnvp", "depth": 1, "flow_options": small}
    vae = make_vae("realnvp", 1, small, 3, latent=4, prior="flow", prior_options=prior, shape=(PIXELS,)).double()
    for parameter in vae.parameters():
        parameter.data.add_(0.02 * torch.randn_like(parameter))
    x, z = binary(3).double(), torch.randn(5, 3, 4, dtype=torch.float64)
    for density in (vae.prior(), vae.posterior(x)):
        expected = two_layers(density.base, density.bijection.parts[0], z)
        torch.testing.assert_close(density.log_prob(z), expected, atol=1e-10, rtol=1e-10)
    with torch.no_grad():
        evidence = log_mean_exp(vae.decode(vae.prior().sample((100_000,))[:, None]).log_prob(x))
    annealed = annealed_log_likelihood(vae, x, 8, 500)
    torch.testing.assert_close(annealed.log_likelihood, evidence, atol=0.6, rtol=0)
    assert (log_likelihood(vae, x, 5000, proposal="mixture").log_likelihood < evidence + 0.3).all()
    bounds = sandwich(vae, simulate(vae, 5), 8, 200)
    assert (bounds.upper - bounds.log_likelihood).mean() > -0.5
    gap = inference_gaps(vae, x, 4, 50, starts=0)
    assert (gap.amortization > -0.05).all()
