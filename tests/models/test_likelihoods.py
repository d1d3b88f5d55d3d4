"""The contract of likelihoods, over the registry: normalized, with their means and samples, at any numbers."""

import math

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal

from nfvae import annealed_log_likelihood, elbo, make_vae
from nfvae.models import LIKELIHOODS, DataSpec, Statistics
from nfvae.models.likelihoods.location_scale import SCALES

DISCRETE = [(name, levels) for name in ("categorical", "logistic") for levels in (2, 5, 256)] + [("bernoulli", 2)]
REAL = ["gaussian", "laplace", "student"]
IN_UNIT = [(name, levels) for name in ("beta", "continuous_bernoulli") for levels in (None, 256)]
CASES = [
    *((name, levels, {}) for name, levels in DISCRETE),
    *((name, None, {"scale": scale}) for name in REAL for scale in (*SCALES, 0.7)),
    *((name, 256, {}) for name in REAL),
    *((name, levels, {}) for name, levels in IN_UNIT),
    ("logistic", 17, {"components": 1}),
    ("student", None, {"df": 1.5}),
]
IDS = [f"{name}-{levels}-{'-'.join(map(str, options.values()))}".rstrip("-") for name, levels, options in CASES]
every_case = pytest.mark.parametrize(("name", "levels", "options"), CASES, ids=IDS)
P = 3


def made(name, levels, options, size=P):
    likelihood = LIKELIHOODS.make(name, options, spec=DataSpec((size,), levels)).double()
    if getattr(likelihood, "scaling", None) is not None:  # data of other units than the model's
        likelihood.scaling.init_from(torch.linspace(-2, 5, size), torch.linspace(0.5, 3, size))
    return likelihood


def raw(likelihood, *batch, gain=1.0, size=P):
    return gain * torch.randn(*batch, likelihood.outputs, size, dtype=torch.float64)


def test_every_likelihood_is_tried():
    assert {name for name, _, _ in CASES} | {"own"} == {*LIKELIHOODS}


def points(likelihood, levels, density):
    """Points of the support with the weights of a quadrature: all levels, or a fine grid."""
    if not likelihood.is_density:
        return torch.linspace(0, 1, levels, dtype=torch.float64), 1.0
    if type(likelihood).__name__ in ("Beta", "ContinuousBernoulli"):
        ends = (-1 / 510, 1 + 1 / 510) if levels and type(likelihood).__name__ == "Beta" else (0.0, 1.0)
        step = (ends[1] - ends[0]) / 200_000
        return torch.linspace(*ends, 200_001, dtype=torch.float64)[:-1] + step / 2, step
    grid = torch.linspace(-12, 12, 1_000_001, dtype=torch.float64)  # x = center + sinh, for heavy tails
    return grid, None


@every_case
def test_the_density_is_normalized(name, levels, options):
    likelihood = made(name, levels, options)
    density = likelihood(raw(likelihood) + 2.0 * (name == "beta")).base_dist  # finite at the ends
    value, step = points(likelihood, levels, density)
    if step is None:
        jump = value[1] - value[0]
        total = [(density.log_prob(value.sinh()[:, None]).exp() * value.cosh()[:, None]).sum(0) * jump]
    else:
        total = [(density.log_prob(value[:, None].expand(-1, P)).exp() * step).sum(0)]
    torch.testing.assert_close(total[0], torch.ones(P, dtype=torch.float64), atol=2e-4, rtol=0)


@every_case
def test_samples_have_the_mean_and_lie_in_the_support(name, levels, options):
    likelihood = made(name, levels, options)
    density = likelihood(raw(likelihood, 2))
    samples = density.sample((40_000,))
    assert samples.shape == (40_000, 2, P)
    likelihood.check(samples.flatten(0, 1))
    if options.get("df", 4.0) > 2:
        error = samples.std(0) / 200
        assert ((samples.mean(0) - density.mean).abs() < 5 * error + 1e-9).all()
    assert density.log_prob(samples).isfinite().all()


@every_case
def test_the_mode_is_the_most_probable_value_where_there_is_one(name, levels, options):
    likelihood = made(name, levels, options)
    density = likelihood(raw(likelihood, gain=2.0) + 2.0 * (name == "beta"))
    try:
        mode = density.base_dist.mode
    except NotImplementedError:
        assert name == "logistic"
        return
    samples = density.sample((2_000,))
    if name not in ("continuous_bernoulli", "beta"):  # their densities are largest at an end, or unbounded
        assert (density.base_dist.log_prob(mode) >= density.base_dist.log_prob(samples) - 1e-9).all()
    assert mode.shape == (P,)


@every_case
def test_the_gradient_is_that_of_finite_differences(name, levels, options):
    likelihood = made(name, levels, options)
    x = likelihood(raw(likelihood, 2)).sample()
    given = raw(likelihood, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda value: likelihood(value).log_prob(x), given, atol=1e-4)
    total = likelihood(given).log_prob(x).sum()
    for parameter in likelihood.parameters():
        (slope,) = torch.autograd.grad(total, parameter, retain_graph=True)
        assert slope.abs().max() > 0


@every_case
@pytest.mark.parametrize("size", [0.0, 1e-3, 30.0, 1e4, 1e9])
def test_float32_survives_extremes(name, levels, options, size):
    likelihood = made(name, levels, options).float()
    for signs in (1.0, -1.0):
        given = (signs * size * torch.ones(likelihood.outputs, P)).requires_grad_()
        density = likelihood(given)
        ends = [0.0, 1.0] if levels else [0.4, 0.6] if name in ("beta", "continuous_bernoulli") else [-1e8, 0.0, 1e8]
        for end in ends:
            log_prob = density.log_prob(torch.full((P,), end))
            (slope,) = torch.autograd.grad(log_prob, given, retain_graph=True)
            assert not log_prob.isnan()
            assert not slope.isnan().any()
        assert density.mean.isfinite().all()


@every_case
def test_16_bit_numbers_give_densities_of_32_bits(name, levels, options):
    likelihood = made(name, levels, options).float()
    given = raw(likelihood, 4).bfloat16()
    x = likelihood(given.float()).sample()
    assert likelihood(given).log_prob(x).dtype == torch.float32


WRONG = {
    **dict.fromkeys(REAL, math.nan),
    **dict.fromkeys(("beta", "continuous_bernoulli"), 1.2),
    **dict.fromkeys(("categorical", "logistic", "bernoulli"), 0.3),
}


@every_case
def test_data_outside_the_support_are_refused(name, levels, options):
    likelihood = made(name, levels, options)
    x = torch.full((2, P), WRONG[name] if levels != 256 or WRONG[name] != 0.3 else 0.3011, dtype=torch.float64)
    with pytest.raises(ValueError, match="expected"):
        likelihood.check(x)


@every_case
def test_missing_values_take_no_part(name, levels, options):
    likelihood = made(name, levels, options)
    likelihood.spec = likelihood.spec._replace(missing=True)
    given = raw(likelihood, 5).requires_grad_()
    x = likelihood(given).sample()
    holes = torch.rand(5, P) < 0.5
    density = likelihood(given)
    found = likelihood.log_prob(density, torch.where(holes, math.nan, x))
    expected = torch.where(holes, 0, density.base_dist.log_prob(x)).sum(-1)
    torch.testing.assert_close(found, expected)
    (slope,) = torch.autograd.grad(found.sum(), given)
    assert slope.isfinite().all()
    assert not slope.movedim(-2, -1)[holes].any()


@every_case
def test_the_decoder_starts_near_the_data(name, levels, options):
    torch.manual_seed(1)
    mean, deviation = torch.rand(P) * 0.6 + 0.2, torch.full((P,), 0.45 if levels == 2 else 0.1)
    likelihood = LIKELIHOODS.make(name, options, spec=DataSpec((P,), levels))
    bias = likelihood.start(Statistics(mean, deviation))
    density = likelihood(torch.zeros(likelihood.outputs, P) if bias is None else bias)
    assert ((density.mean - mean).abs() < 0.08).all()
    if bias is not None:
        assert bias.shape == (likelihood.outputs, P)


@pytest.mark.parametrize("levels", [2, 3, 17, 256])
def test_levels_of_logistics_sum_to_one_even_where_they_are_narrow(levels):
    likelihood = LIKELIHOODS.make("logistic", {"components": 3}, spec=DataSpec((4,), levels))
    for gain in (0.1, 1, 10, 100):
        density = likelihood(gain * torch.randn(6, 9, 4)).base_dist
        value = torch.linspace(0, 1, levels)[:, None, None].expand(levels, 6, 4)
        torch.testing.assert_close(density.log_prob(value).exp().sum(0), torch.ones(6, 4))


def test_the_first_and_last_level_take_the_tails():
    likelihood = LIKELIHOODS.make("logistic", {"components": 1}, spec=DataSpec((1,), 256))
    far = torch.tensor([[0.0], [50.0], [-3.0]])  # far above every level
    assert likelihood(far).log_prob(torch.ones(1)) > -1e-6
    assert likelihood(far * torch.tensor([[1.0], [-1.0], [1.0]])).log_prob(torch.zeros(1)) > -1e-6
    assert likelihood(far).log_prob(torch.zeros(1)) < -50


def test_a_discretized_logistic_is_a_difference_of_sigmoids():
    likelihood = LIKELIHOODS.make("logistic", {"components": 1}, spec=DataSpec((1,), 5)).double()
    given = torch.tensor([[0.0], [0.4], [-1.5]], dtype=torch.float64)
    density = likelihood(given).base_dist
    scale = density.scale.squeeze()
    edges = (torch.arange(4).double() + 0.5) / 4
    below = torch.cat([torch.zeros(1), torch.sigmoid((edges - 0.4) / scale), torch.ones(1)])
    expected = below.diff()
    found = density.log_prob(torch.linspace(0, 1, 5, dtype=torch.float64)[:, None]).exp()[:, 0]
    torch.testing.assert_close(found, expected)


def test_a_continuous_bernoulli_is_torchs_in_the_middle():
    logits = torch.tensor([-3.0, -0.5, -0.02, 0.0, 0.05, 1.0, 4.0], dtype=torch.float64)
    ours = LIKELIHOODS.make("continuous_bernoulli", spec=DataSpec((7,), None))(logits[None])
    theirs = Independent(torch.distributions.ContinuousBernoulli(logits=logits), 1)
    x = torch.rand(50, 7, dtype=torch.float64)
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x), atol=1e-6, rtol=0)
    torch.testing.assert_close(ours.mean, theirs.mean, atol=1e-5, rtol=0)


def test_a_gaussian_vae_with_a_linear_decoder_is_probabilistic_pca():
    """Tipping and Bishop (1999): log p(x) = log N(x; c, S (W Wᵀ + s² I) S), in the units of the data."""
    torch.manual_seed(0)
    features, size, scale = 2, 5, 0.6
    vae = make_vae(
        *("none", 1),
        **{"context": 0, "latent": features, "encoder_options": {"hidden": [8]}, "decoder_options": {"hidden": [4]}},
        **{"likelihood": "gaussian", "likelihood_options": {"scale": scale}, "shape": (size,), "levels": None},
    ).double()
    center, spread = torch.randn(size).double(), torch.rand(size).double() + 0.5
    vae.init_from(Statistics(center, spread))
    vae.decoder = torch.nn.Sequential(torch.nn.Linear(features, size), torch.nn.Unflatten(-1, (1, size))).double()
    linear = vae.decoder[0]
    weight = spread[:, None] * linear.weight
    covariance = weight @ weight.T + scale**2 * spread.square().diag()
    evidence = MultivariateNormal(center + spread * linear.bias, covariance)
    x = evidence.sample((6,))
    expected = evidence.log_prob(x)
    precision = torch.eye(features) + linear.weight.T @ linear.weight / scale**2
    posterior = MultivariateNormal(
        torch.linalg.solve(precision, linear.weight.T @ ((x - center) / spread - linear.bias).T / scale**2).T,
        precision_matrix=precision,
    )
    z = posterior.sample((3,))
    joint = vae.decode(z).log_prob(x) + vae.prior().log_prob(z)
    torch.testing.assert_close(joint - posterior.log_prob(z), expected.expand(3, 6), atol=1e-6, rtol=1e-6)
    found = annealed_log_likelihood(vae, x, 16, 400).log_likelihood
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0)
    assert elbo(vae(x, 100)) < expected.mean()


@pytest.mark.parametrize(
    ("name", "levels", "options", "message"),
    [
        ("bernoulli", 256, {}, "takes binary data.*take --model.likelihood logistic"),
        ("bernoulli", None, {}, "takes binary data.*take --model.likelihood gaussian"),
        ("categorical", None, {}, "takes data with levels.*take --model.likelihood gaussian"),
        ("categorical", 300, {}, "at most 256 levels; got 300"),
        ("logistic", None, {}, "takes data with levels"),
        ("logistic", 256, {"components": 0}, "components must be at least 1"),
        ("gaussian", None, {"scale": "wide"}, "unknown scale 'wide'; known scales: decoder, element, shared"),
        ("gaussian", None, {"scale": 0}, "scale must be above 0"),
        ("gaussian", None, {"floor": 0}, "floor must be above 0"),
        ("student", None, {"df": 1}, "df must be above 1"),
    ],
)
def test_a_likelihood_that_does_not_fit_is_refused(name, levels, options, message):
    with pytest.raises(ValueError, match=message):
        LIKELIHOODS.make(name, options, spec=DataSpec((P,), levels))
