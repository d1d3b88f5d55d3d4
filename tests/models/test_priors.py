"""Every prior is a density, and does for a model what a prior does."""

import copy
import math
import pickle
import re

import pytest
import torch
from torch.distributions import MixtureSameFamily, MultivariateNormal

from nfvae.estimators import annealed_log_likelihood, log_likelihood, make_objective, sandwich, simulate
from nfvae.flows import DiagonalNormal
from nfvae.flows.mixture import Mixture
from nfvae.models import PRIORS, DataSpec, Statistics, check_vae, make_vae
from nfvae.models.priors.flow import FlowPrior
from nfvae.models.priors.mixture import GaussianMixture
from nfvae.models.priors.vamp import VampPrior
from tests.helpers.broken import NotUndone
from tests.helpers.flows import ALL
from tests.helpers.models import PIXELS, binary, constant_vae, exact_vae, small_vae
from tests.helpers.sweeps import sweep

CASES = {
    "normal": ("normal", {}),
    "mixture": ("mixture", {"components": 5}),
    "vamp": ("vamp", {"components": 4}),
    "vamp with its flow": ("vamp", {"components": 4, "flow": True}),
    "maf": ("flow", {"flow_options": {"hidden": 16}}),
    "nsf": ("flow", {"flow": "nsf", "depth": 2, "flow_options": {"hidden": 16}}),
    "planar": ("flow", {"flow": "planar"}),
}


every_case = pytest.mark.parametrize("case", sweep(CASES, lambda case: case in ("normal", "mixture", "vamp", "maf")))


def make_prior(case, latent=2):
    """A prior away from its start."""
    name, options = CASES[case]
    prior = PRIORS.make(name, options, latent=latent, spec=DataSpec((PIXELS,)))
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return prior


def test_every_prior_is_tried():
    assert {name for name, _ in CASES.values()} == set(PRIORS)


@every_case
@torch.no_grad()
def test_the_density_integrates_to_one_and_is_that_of_the_samples(case):
    vae = constant_vae("planar", make_prior(case)).double()
    side = torch.linspace(-30, 30, 1201, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    density = vae.prior().log_prob(grid).exp() * (side[1] - side[0]) ** 2
    assert density.sum() == pytest.approx(1, abs=1e-3)
    samples, mean = vae.prior().sample((100_000,)), (density[:, None] * grid).sum(0)
    spread = (density[:, None] * (grid - mean).square()).sum(0)
    torch.testing.assert_close(samples.mean(0), mean, rtol=0, atol=0.03)
    torch.testing.assert_close(samples.var(0), spread, rtol=0.05, atol=0)


@every_case
def test_weights_average_to_one_under_every_prior_in_both_estimators(case):
    """The decoder is constant, so that log p(x) = -P ln 2 whatever the prior."""
    vae = constant_vae("planar", make_prior(case)).double().eval()
    x, exact = binary(3).double(), -PIXELS * math.log(2)
    for found in (log_likelihood(vae, x, 50_000), annealed_log_likelihood(vae, x, 1_000, 20)):
        assert (found.standard_error < 0.1).all()
        assert ((found.log_likelihood - exact).abs() < 4.5 * found.standard_error).all()


@pytest.mark.parametrize("case", ["mixture", "vamp", "maf"])
def test_the_evidence_of_simulated_images_lies_in_the_sandwich(case):
    vae, exact = constant_vae("planar", make_prior(case)).double().eval(), -PIXELS * math.log(2)
    found = sandwich(vae, simulate(vae, 20), 8, 100)
    assert found.log_likelihood.mean() == pytest.approx(exact, abs=0.1)
    assert found.upper.mean() == pytest.approx(exact, abs=0.1)
    assert (found.upper - found.log_likelihood).mean() > -0.05


def test_a_mixture_far_from_its_parts_and_near_them_is_that_of_torch():
    loc, scale, logits = 3 * torch.randn(50, 40), 0.1 * torch.rand(50, 40) + 1e-3, torch.randn(50)
    mixture = Mixture(DiagonalNormal(loc, scale), logits)
    z = torch.cat([mixture.sample((100,)), 5 * torch.randn(100, 40)]).reshape(2, 100, 40).requires_grad_()
    exact = Mixture(DiagonalNormal(loc.double(), scale.double()), logits.double())
    generic = MixtureSameFamily.log_prob(exact, z.double())
    found = mixture.log_prob(z)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), generic, rtol=1e-6, atol=1e-5)
    gradients = [torch.autograd.grad(each.sum(), z, retain_graph=True)[0] for each in (found, generic)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-3)


def test_an_affine_flow_prior_has_the_evidence_in_closed_form():
    prior = FlowPrior(3, flow="cholesky", depth=1).double()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
        density = prior()
        mean = density.bijection(density.base.loc)
        factor = torch.stack([density.bijection(row) for row in torch.eye(3).double()]) - density.bijection(
            torch.zeros(3).double()
        )
    factor = factor.T * density.base.scale
    covariance = (factor @ factor.T).detach()
    z = torch.randn(7, 3, dtype=torch.float64)
    torch.testing.assert_close(density.log_prob(z), MultivariateNormal(mean, covariance).log_prob(z))
    vae, decoder = exact_vae(prior, mean=mean.detach(), covariance=covariance)
    x = decoder(prior().sample((5,))).sample()
    torch.testing.assert_close(vae(x, 4).log_weight, decoder.evidence(x).expand(4, 5))


def test_a_mixture_prior_has_the_evidence_in_closed_form():
    """With a linear decoder the evidence is a mixture too."""
    prior = GaussianMixture(3, components=4).double()
    with torch.no_grad():
        prior.logits.add_(torch.randn(4))
        prior.log_scale.add_(0.3 * torch.randn(4, 3) - 0.3)
    vae, decoder = exact_vae(prior)
    x = decoder(prior().sample((5,))).sample()
    with torch.no_grad():
        mean = decoder.offset + prior.loc @ decoder.weight.T
        covariance = decoder.weight * prior.log_scale.mul(2).exp()[:, None] @ decoder.weight.T
        covariance = covariance + decoder.noise**2 * torch.eye(6, dtype=torch.float64)
        components = MultivariateNormal(mean, covariance).log_prob(x[:, None])
        exact = (components + prior.logits.log_softmax(0)).logsumexp(1)
    for found in (log_likelihood(vae, x, 20_000), annealed_log_likelihood(vae, x, 500, 20)):
        assert (found.standard_error < 0.1).all()
        assert ((found.log_likelihood - exact).abs() < 4.5 * found.standard_error).all()


def test_a_vampprior_of_one_pseudo_input_is_its_posterior():
    prior = VampPrior(3, DataSpec((6,)), components=1)
    vae, decoder = exact_vae(prior)  # the posterior of x: a standard normal pushed through an affine map
    prior.flow = True
    posterior = decoder.posterior(torch.sigmoid(prior.logits))
    mean, factor = posterior.bijection.shift[0], posterior.bijection.matrix
    z = torch.randn(4, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(vae.prior().log_prob(z), MultivariateNormal(mean, scale_tril=factor).log_prob(z))


@pytest.mark.parametrize("flow", [False, True])
def test_a_vampprior_is_the_mean_of_the_posteriors_of_its_pseudo_inputs(flow):
    vae = small_vae("iaf", prior=VampPrior(3, DataSpec((PIXELS,)), components=5, flow=flow)).double()
    z, weights = torch.randn(2, 4, 3, dtype=torch.float64), 0
    for pseudo in torch.sigmoid(vae.prior.logits):
        posterior = vae.posterior(pseudo[None])
        weights = weights + (posterior if flow else posterior.base).log_prob(z).exp() / 5
    torch.testing.assert_close(vae.prior().log_prob(z), weights.log())


@pytest.mark.parametrize("name", ALL)
def test_a_vampprior_takes_every_posterior_with_its_flow(name):
    vae = small_vae(name, prior=VampPrior(3, DataSpec((PIXELS,)), components=5, flow=True)).double().eval()
    z = torch.randn(2, 4, 3, dtype=torch.float64)
    posterior = vae.posterior(torch.sigmoid(vae.prior.logits))
    expected = posterior.log_prob(z[:, :, None].expand(-1, -1, 5, -1)).logsumexp(-1) - math.log(5)
    torch.testing.assert_close(vae.prior().log_prob(z), expected)


def test_a_flow_prior_that_is_no_density_is_refused():
    vae = small_vae(prior=FlowPrior(3))
    vae.prior.density.flow = NotUndone(3)
    with pytest.raises(ValueError, match="its inverse misses a point by"):
        check_vae(vae, vae.spec, make_objective("elbo"))


def test_a_vampprior_learns_with_its_model_and_is_copied_with_it():
    vae = small_vae("iaf", prior=VampPrior(3, DataSpec((PIXELS,)), components=5))
    vae(binary(3)).log_weight.mean().backward()
    assert vae.prior.logits.grad.abs().sum() > 0
    assert not any("prior" in name and "logits" not in name for name, _ in vae.named_parameters())
    for other in (copy.deepcopy(vae), pickle.loads(pickle.dumps(vae))):
        assert other.prior.attached[0] is other.posterior
        assert other.posterior is not vae.posterior


def test_pseudo_inputs_start_around_the_means_of_the_pixels_once():
    prior, means = VampPrior(3, DataSpec((4,)), components=1000), torch.tensor([0.0, 0.2, 0.5, 0.9])
    prior.init_from(Statistics(means, means))
    prior.init_from(Statistics(1 - means, means))
    torch.testing.assert_close(torch.sigmoid(prior.logits.mean(0)), means, rtol=0, atol=0.03)


@pytest.mark.parametrize("case", CASES)
def test_temperature_multiplies_the_noise(case):
    vae = constant_vae("planar", make_prior(case))
    cold = vae.prior().tempered(1e-6)
    points = cold.sample((2000,))
    centers = len(torch.unique((points * 1e3).round(), dim=0))
    assert centers <= 2 * CASES[case][1].get("components", 1)
    assert vae.sample(3, temperature=0.5).shape == (3, PIXELS)
    with pytest.raises(ValueError, match="temperature must be above 0; got 0"):
        vae.sample(3, temperature=0)


def test_a_prior_of_ones_own_may_have_no_temperature():
    vae = make_vae("planar", 1, context=2, prior="tests.helpers.own:WidePrior", latent=2, shape=(3, 3))
    vae.prior.forward = lambda: torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2), 1.0), 1)
    assert vae.sample(2).shape == (2, 9)
    with pytest.raises(ValueError, match="Independent has no temperature"):
        vae.sample(2, temperature=0.5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mixture", {"components": 0}, "components must be at least 1; got 0"),
        ("vamp", {"flow": "iaf"}, "flow of a VampPrior is true or false, whether with the posterior's; got 'iaf'"),
        ("vamp", {"components": "x"}, "components must be a whole number; got 'x'"),
        ("flow", {"flow": "wave"}, "unknown flow 'wave'"),
        ("flow", {"depth": 0}, "depth must be at least 1; got 0"),
        ("normal", {"scale": 2}, "unknown option 'scale' of prior 'normal'"),
        ("wide", {}, "unknown prior 'wide'"),
    ],
)
def test_wrong_options_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        make_vae(prior=name, prior_options=options)


@pytest.mark.parametrize("case", CASES)
def test_samples_are_those_of_one_draw_decoded_a_few_at_a_time(case, monkeypatch):
    vae, sizes = constant_vae("planar", make_prior(case)), []
    with torch.no_grad():
        for weight in vae.decoder.parameters():
            weight.normal_()
        torch.manual_seed(1)
        expected = vae.decode(vae.prior().sample((600,))).mean
    vae.decoder.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    torch.manual_seed(1)
    torch.testing.assert_close(vae.sample(600), expected)
    assert sizes == [250, 250, 100]
    monkeypatch.setattr("nfvae.models.vae._DRAWN_AT_ONCE", 40)
    assert vae.sample(90).shape == (90, PIXELS)
    assert sizes[3:] == [40, 40, 10]
    with pytest.raises(ValueError, match="count must be at least 1; got 0"):
        vae.sample(0)


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6])
def test_a_mixture_far_from_zero_loses_nothing(offset):
    loc = torch.randn(5, 3).double() + offset
    parts, z = DiagonalNormal(loc, torch.full_like(loc, 1e-3)), loc[:2] + 1e-3
    expected = (parts.log_prob(z[:, None]) - math.log(5)).logsumexp(-1)
    torch.testing.assert_close(Mixture(parts, torch.zeros(5).double()).log_prob(z), expected, atol=1e-5, rtol=1e-7)


@pytest.mark.parametrize("name", sorted(PRIORS))
def test_points_of_another_size_are_refused(name):
    vae = small_vae(prior=PRIORS.make(name, latent=3, spec=DataSpec((12,))))
    for shape in ((5, 1), (5, 4), ()):
        with pytest.raises(ValueError, match=rf"expected points with shape \(\*, 3\); got {re.escape(str(shape))}"):
            vae.prior().log_prob(torch.zeros(shape))
