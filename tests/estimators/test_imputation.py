"""Missing values: what is observed against quadrature, and imputations against the exact conditional distribution."""

import math

import pytest
import torch

from nfvae import annealed_log_likelihood, elbo, impute, iwae, log_likelihood, make_vae, sandwich, simulate
from nfvae.estimators import inference_gaps
from nfvae.models import Statistics
from nfvae.plots.canvas import square_grid

LIKELIHOODS = [("bernoulli", 2), ("gaussian", None), ("logistic", 17), ("student", None), ("categorical", 5)]


def two_latents(likelihood, levels, missing=True, **settings):
    torch.manual_seed(3)
    small = {"encoder_options": {"hidden": [16]}, "decoder_options": {"hidden": [16]}, "latent": 2}
    data = {"likelihood": likelihood, "levels": levels, "shape": (6,), "missing": missing}
    model = make_vae("planar", 2, context=4, **small | data | settings).double()
    if levels is None:
        model.init_from(Statistics(torch.linspace(-1, 3, 6), torch.linspace(0.5, 2, 6)))
    with torch.no_grad():
        model.decoder.head.weight.mul_(8 if levels else 4)  # a likelihood that depends on the latents
        model.posterior.encoder.head.weight.mul_(0.1)
        model.posterior.encoder.head.bias[2:4] = 0.3  # wider than the prior, as an untrained posterior should be
    return model


def with_holes(model, count=8):
    x = model.sample(count, values="sample").double()
    holes = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.4
    holes[:, 0] = False
    return x, torch.where(holes, math.nan, x)


def quadrature(model, x, side=250):
    """log p(x) of the observed values by a grid over the two latents, in nats, with shape (B,)."""
    reach = torch.full((2,), 7.0)
    grid, _ = square_grid(-reach, reach, side)
    grid = grid.double()
    step = 2 * math.log(14 / (side - 1))
    prior = model.prior().log_prob(grid)
    found = [
        (model.likelihood.log_prob(model.decode(grid[:, None]), each[None])[:, 0] + prior).logsumexp(0) for each in x
    ]
    return torch.stack(found) + step


@torch.no_grad()
@pytest.mark.parametrize(("likelihood", "levels"), LIKELIHOODS)
def test_the_likelihood_of_what_is_observed_is_that_of_quadrature(likelihood, levels):
    model = two_latents(likelihood, levels)
    _, x = with_holes(model)
    expected = quadrature(model, x)
    found = log_likelihood(model, x, 20_000)
    assert ((found.log_likelihood - expected).abs() < 0.05).all()
    annealed = annealed_log_likelihood(model, x, 8, 60).log_likelihood
    assert ((annealed - expected).abs() < 0.15).all()
    terms = model(x, 50)
    assert elbo(terms) < iwae(terms) + 1e-9
    assert iwae(terms) < expected.mean() + 0.1


@torch.no_grad()
@pytest.mark.parametrize(("likelihood", "levels"), LIKELIHOODS)
def test_imputed_data_have_the_log_likelihood_of_quadrature(likelihood, levels):
    """log p(missing | observed) of the true values, by importance sampling, agrees with quadrature to 0.05 nats."""
    model = two_latents(likelihood, levels)
    x, holes = with_holes(model)
    found = log_likelihood(model, x, 20_000).log_likelihood - log_likelihood(model, holes, 20_000).log_likelihood
    expected = quadrature(model, x) - quadrature(model, holes)
    assert ((found - expected).abs() < 0.05).all()


@torch.no_grad()
@pytest.mark.parametrize(("likelihood", "levels"), LIKELIHOODS)
def test_imputations_have_the_exact_mean_and_leave_what_is_observed(likelihood, levels):
    model = two_latents(likelihood, levels)
    _, x = with_holes(model, 4)
    reach = torch.full((2,), 7.0)
    grid = square_grid(-reach, reach, 150)[0].double()
    weights = torch.stack(
        [
            model.likelihood.log_prob(model.decode(grid[:, None]), each[None])[:, 0] + model.prior().log_prob(grid)
            for each in x
        ]
    ).softmax(1)
    expected = torch.where(x.isnan(), weights @ model.decode(grid).mean, x)
    found = impute(model, x, imputations=2_000, samples=20_000)
    spread = found.values.std(0)
    assert ((found.mean - expected).abs() <= 0.05 * spread + 1e-3).all()
    assert ((found.values.mean(0) - expected).abs() <= 5 * spread / 2_000**0.5 + 1e-6).all()
    seen = ~x.isnan()
    assert torch.equal(found.values[:, seen], x[seen].expand(2_000, -1))
    assert (spread[~seen] > 0).any()
    assert found.ess.min() > 1


def test_imputations_depend_on_seed_and_index_alone():
    model = two_latents("bernoulli", 2)
    _, x = with_holes(model)
    whole = impute(model, x, 3, 100, seed=1)
    part = impute(model, x[2:5], 3, 100, seed=1, indices=torch.arange(2, 5))
    assert torch.equal(whole.values[:, 2:5], part.values)
    torch.testing.assert_close(impute(model, x, 3, 100, seed=1, rows=7).mean, whole.mean)
    assert not torch.equal(impute(model, x, 3, 100, seed=2).values, whole.values)


def test_gradients_are_finite_and_no_missing_value_has_an_effect():
    model = two_latents("gaussian", None)
    _, holes = with_holes(model)
    torch.manual_seed(0)
    elbo(model(holes, 3)).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)
    model.likelihood.fill, values = 1e3, []
    for fill in (0.0, 1e3):
        model.likelihood.fill = fill
        torch.manual_seed(0)
        values.append(elbo(model(holes, 3)))
    assert values[0] == values[1]


def test_missing_values_are_refused_by_a_model_of_complete_data():
    model = two_latents("gaussian", None, missing=False)
    with pytest.raises(ValueError, match="expected finite numbers; got NaN"):
        log_likelihood(model, torch.full((2, 6), math.nan), 10)
    with pytest.raises(ValueError, match="imputations must be at least 1"):
        impute(two_latents("bernoulli", 2), torch.zeros(1, 6), 0)


def test_every_estimator_takes_missing_values():
    model = two_latents("bernoulli", 2)
    _, x = with_holes(model, 3)
    gaps = inference_gaps(model, x, 2, 20, starts=0)
    torch.testing.assert_close(gaps.log_likelihood - gaps.elbo, gaps.approximation + gaps.amortization)
    simulated = simulate(model, 3)
    bounds = sandwich(model, simulated, 4, 50)
    assert (bounds.upper - bounds.log_likelihood > -0.5).all()
