"""Annealed importance sampling and the sandwich, against models whose evidence is known."""

import contextlib
import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from nfvae.estimators import (
    annealed,
    annealed_log_likelihood,
    annealing,
    inference_gaps,
    log_likelihood,
    sandwich,
    simulate,
)
from nfvae.estimators.annealed import AnnealedEstimate
from nfvae.estimators.annealing import Target, moves, run_chains, tune
from nfvae.estimators.streaming import Images
from nfvae.flows import make_flow
from nfvae.models import VAE, Posterior
from nfvae.models.encoders import Encoder, Encoding
from nfvae.models.priors.normal import StandardNormal
from tests.estimators.test_importance import digits, integrated, trained  # noqa: F401
from tests.helpers.flows import FEW, small_options
from tests.helpers.models import PIXELS, LinearGaussian, binary, constant_vae, exact_vae, small_vae
from tests.helpers.sweeps import first, sweep

every_flow = pytest.mark.parametrize("name", FEW)
LATENT, SEEN = 3, 6


class NearlyRight(Encoder):
    """The exact posterior's mean and scales, somewhat off, and some context."""

    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, x):
        exact = self.decoder.posterior(x)
        scale = exact.bijection.matrix.square().sum(-1).sqrt()
        bend = torch.tanh(x[:, :LATENT])
        return Encoding(exact.bijection.shift + scale * (0.3 + 0.2 * bend), scale.log() + 0.2 + 0.2 * bend, x[:, :4])


def gaussian_vae(name="none", noise=0.5):
    """A linear-Gaussian model, whose evidence is known, with an untrained posterior that is somewhat off."""
    flow, decoder = make_flow(name, LATENT, 4, 2, **small_options(name)), LinearGaussian(LATENT, SEEN, noise)
    vae = VAE(Posterior(NearlyRight(decoder), flow), decoder, StandardNormal(LATENT)).double()
    return vae.requires_grad_(False)


def hard_vae():
    """A VAE whose posterior is far from the exact one."""
    vae = small_vae("none", 20).double().requires_grad_(False)
    vae.decoder.head.weight.mul_(60)
    return vae


def target_of(vae, x, rows=10**9):
    return Target.of_images(vae, Images(x, list(range(len(x))), rows))


def annealed_gaussian(vae, x, beta):
    """π_β of an image under a linear-Gaussian model with a diagonal Gaussian posterior: it is Gaussian itself."""
    base, decoder = vae.posterior(x[None]).base, vae.decoder
    loc, scale = base.loc[0], base.scale[0]
    # log w = log p(x | loc + scale ε) + log p(loc + scale ε) + |ε|²/2 + const
    precision = decoder.weight.T @ decoder.weight / decoder.noise**2 + torch.eye(LATENT, dtype=torch.float64)
    linear = (x - decoder.offset) @ decoder.weight / decoder.noise**2
    in_noise = beta * scale[:, None] * precision * scale + (1 - beta) * torch.eye(LATENT, dtype=torch.float64)
    mean = torch.linalg.solve(in_noise, beta * scale * (linear - precision @ loc))
    return MultivariateNormal(mean, precision_matrix=in_noise)


def assert_mean(values, expected, errors=4.5):
    """Check the mean over the first dimension against its own standard error."""
    error = values.std(0) / len(values) ** 0.5
    assert ((values.mean(0) - expected).abs() < errors * error + 1e-12).all(), (values.mean(0) - expected) / error


MOVES = [(0.3, 1, 1.4), (0.3, 3, 1.3), (1.0, 1, 1.2), (1.0, 3, 0.8)]


@pytest.mark.parametrize(("beta", "leapfrog", "step"), sweep(MOVES, lambda *move: move == MOVES[1]))
def test_a_move_leaves_its_density_as_it_is_and_finds_it_from_anywhere(beta, leapfrog, step, monkeypatch):
    monkeypatch.setattr(annealing, "LEAPFROG", leapfrog)
    torch.manual_seed(0)
    vae = gaussian_vae()
    x = vae.decode(torch.randn(1, LATENT, dtype=torch.float64)).sample()
    target, density, chains = target_of(vae, x), annealed_gaussian(vae, x[0], beta), 40_000
    for start, count in ((density.sample((chains, 1)), 3), (torch.zeros(chains, 1, LATENT, dtype=torch.float64), 120)):
        state, numbers, rates = target(start), moves(target, chains, 0, "test"), []
        for _ in range(count):
            state, acceptance = annealing._move(target, state, torch.tensor([beta]), torch.tensor([step]), numbers)
            rates.append(acceptance.mean())
        found = state.noise[:, 0] - density.mean
        assert_mean(found, 0)
        assert_mean(found[:, :, None] * found[:, None], density.covariance_matrix)
        assert 0.05 < torch.stack(rates).mean() < 0.98, "a move that is always accepted tests no acceptance"


def test_a_move_without_a_target_is_a_rotation_that_is_always_accepted():
    vae = gaussian_vae()
    target = target_of(vae, torch.randn(2, SEEN, dtype=torch.float64))
    state = target(torch.randn(50, 2, LATENT, dtype=torch.float64))
    step = torch.full((2,), math.pi / 4, dtype=torch.float64)
    momentum, log_uniform = torch.randn(50, 2, LATENT, dtype=torch.float64), torch.full((50, 2), -1e-9)
    moved, acceptance = annealing._move(target, state, torch.zeros(2), step, iter([(momentum, log_uniform)]))
    torch.testing.assert_close(acceptance, torch.ones_like(acceptance))
    torch.testing.assert_close(moved.noise, momentum)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("temperatures", first([3, 1, 30]))
def test_weights_are_unbiased_for_any_number_of_temperatures(temperatures, backwards):
    vae, chains = gaussian_vae(), 60_000
    decoder = vae.decoder
    x = decoder(torch.randn(2, LATENT, dtype=torch.float64)).sample()
    target = target_of(vae, x)
    path = tune(target, temperatures, 0)
    if backwards:
        start = torch.stack([annealed_gaussian(vae, image, 1.0).sample((chains,)) for image in x], 1)
    else:
        start = torch.randn(chains, 2, LATENT, dtype=torch.float64)
    log_weights = run_chains(target, start, path, moves(target, chains, 1, "test"), backwards).log_weights[-1]
    excess = log_weights - decoder.evidence(x)
    assert_mean((-excess if backwards else excess).exp(), 1.0)
    if temperatures > 1:
        assert ((-excess if backwards else excess).exp().std(0) / chains**0.5 < 0.02).all(), "too blunt a test"


@pytest.mark.parametrize("temperatures", [1, 3, 30])
def test_an_exact_posterior_gives_the_evidence(temperatures):
    vae, decoder = exact_vae()
    x = decoder(torch.randn(5, 3, dtype=torch.float64)).sample()
    estimate = annealed_log_likelihood(vae, x, 3, temperatures)
    for bound in (estimate.log_likelihood, estimate.elbo, estimate.mean_log_weight):
        torch.testing.assert_close(bound, decoder.evidence(x))
    assert (estimate.spread < 1e-6).all()
    assert (estimate.standard_error < 1e-6).all()
    torch.testing.assert_close(estimate.ess, torch.full((5,), 3.0, dtype=torch.float64))


@every_flow
def test_one_temperature_is_importance_sampling_of_the_same_noise(name):
    vae, x = small_vae(name).double(), binary(3).double()
    annealed, importance = annealed_log_likelihood(vae, x, 130, 1), log_likelihood(vae, x, 130, proposal="posterior")
    for field in ("log_likelihood", "elbo", "kl", "standard_error", "ess", "posterior_mean", "posterior_variance"):
        torch.testing.assert_close(getattr(annealed, field), getattr(importance, field), msg=field)
    torch.testing.assert_close(annealed.mean_log_weight, importance.elbo)
    assert annealed.acceptance.isnan().all()


@every_flow
def test_a_constant_decoder_has_likelihood_one_half_per_pixel(name):
    estimate = annealed_log_likelihood(constant_vae(name), binary(3), 1000, 30)
    errors = (estimate.log_likelihood + PIXELS * math.log(2)) / estimate.standard_error
    assert (estimate.standard_error < 0.2).all()
    assert (errors.abs() < 4.5).all()


INTEGRATED = [("none", 5000), *((name, 500) for name in FEW)]


@pytest.mark.parametrize(("name", "chains"), sweep(INTEGRATED, lambda name, chains: name != "maf" and chains == 500))
def test_agrees_with_integration_over_two_latents(name, chains, digits):  # noqa: F811
    model, x = trained(name, digits), digits.splits.test[:4].float()
    estimate = annealed_log_likelihood(model, x, chains, 100)
    off = (estimate.log_likelihood - integrated(model, x)).abs()
    assert (off < (0.01 if chains == 5000 else 4 * estimate.standard_error)).all()
    assert estimate.standard_error.max() < 0.02
    assert (estimate.elbo < estimate.mean_log_weight).all()
    assert (estimate.mean_log_weight <= estimate.log_likelihood).all()


def test_more_temperatures_come_nearer_to_the_evidence():
    vae = gaussian_vae(noise=0.2)
    x = vae.decode(torch.randn(60, LATENT, dtype=torch.float64)).sample()
    evidence = vae.decoder.evidence(x)
    short, long = (annealed_log_likelihood(vae, x, 16, count) for count in (3, 30))
    off = [(evidence - estimate.mean_log_weight).mean() for estimate in (short, long)]
    assert 0 < off[1] < off[0] / 2
    assert long.spread.mean() < short.spread.mean() / 2
    assert ((long.spread.square() / 2).mean() - off[1]).abs() < 0.5 * off[1], "the rule by which it is judged"


def test_the_path_is_tuned_by_image_and_then_frozen(monkeypatch):
    vae = hard_vae()
    target = target_of(vae, binary(6).double())
    path = tune(target, 40, 0)
    assert path.betas.shape == (41, 6)
    assert path.steps.shape == (39, 6)
    assert (path.betas.diff(dim=0) > 0).all()
    assert (path.betas[0] == 0).all() & (path.betas[-1] == 1).all()
    assert len(path.betas[20].unique()) == 6, "each image has its own"
    assert len(path.steps[-1].unique()) > 2
    assert (path.steps <= math.pi / 4 + 1e-12).all()
    used, move = [], annealing._move
    monkeypatch.setattr(annealing, "_move", lambda *given: used.append((given[2], given[3])) or move(*given))
    run_chains(target, torch.randn(4, 6, 20, dtype=torch.float64), path, moves(target, 4, 0, "test"))
    assert torch.equal(torch.stack([beta for beta, _ in used]), path.betas[1:-1])
    assert torch.equal(torch.stack([step for _, step in used]), path.steps)


def test_tuning_reaches_the_acceptance_it_is_after(monkeypatch):
    monkeypatch.setattr(annealing, "LEAPFROG", 1)
    estimate = annealed_log_likelihood(hard_vae(), binary(8).double(), 4, 200)
    assert 0.4 < estimate.acceptances[:, -3:].mean() < 0.8


def test_the_estimate_of_an_image_depends_on_seed_and_index_alone(monkeypatch):
    vae, x = small_vae().double(), binary(7).double()
    whole = annealed_log_likelihood(vae, x, 3, 12)
    for rows in (1, 3, 8, 1000):
        for field, one, other in zip(
            AnnealedEstimate._fields, annealed_log_likelihood(vae, x, 3, 12, rows=rows), whole, strict=True
        ):
            torch.testing.assert_close(one, other, equal_nan=True, msg=field)
    alone = annealed_log_likelihood(vae, x[5:6], 3, 12, indices=torch.tensor([5]))
    torch.testing.assert_close(alone.log_likelihood, whole.log_likelihood[5:6])
    for other in ({"seed": 1}, {"indices": torch.arange(7) + 1}):
        assert (annealed_log_likelihood(vae, x, 3, 12, **other).log_likelihood != whole.log_likelihood).all()
    target = target_of(vae, x)
    noises = [next(moves(target, 3, *of))[0] for of in ((0, "a"), (0, "a"), (1, "a"), (0, "b"))]
    assert torch.equal(noises[0], noises[1])
    assert not any(torch.isclose(noises[0], other).any() for other in noises[2:])
    used = []
    monkeypatch.setattr(annealed, "moves", lambda *given: used.append(given[2:]) or moves(*given))
    annealed_log_likelihood(vae, x, 2, 3, seed=7)
    assert used == [(7, "annealed")]
    state = torch.get_rng_state()
    annealed_log_likelihood(vae, x, 2, 3)
    assert torch.equal(torch.get_rng_state(), state)


def test_threads_inference_mode_and_mixed_precision_change_nothing():
    vae, x = small_vae(), binary(6)
    alone = annealed_log_likelihood(vae, x, 2, 12, rows=4)
    torch.set_num_threads(2)
    try:
        together = annealed_log_likelihood(vae, x, 2, 12, rows=4)
    finally:
        torch.set_num_threads(1)
    with torch.inference_mode():
        inferred = annealed_log_likelihood(vae, x.clone(), 2, 12, rows=4)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = annealed_log_likelihood(vae, x, 2, 12, rows=4)
    for other in (together, inferred, mixed):
        torch.testing.assert_close(other.log_likelihood, alone.log_likelihood)
    assert not any(value.requires_grad for value in alone)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in vae.parameters())


def test_no_gradient_of_a_weight_is_computed_and_what_was_frozen_stays_so():
    vae, wanted = small_vae(), []
    vae.decoder.requires_grad_(False)
    before = [parameter.requires_grad for parameter in vae.parameters()]
    vae.decoder.register_forward_hook(lambda *_: wanted.extend(p.requires_grad for p in vae.parameters()))
    for x in (binary(3), torch.full((3, 5), 0.5)):
        with contextlib.suppress(ValueError):
            annealed_log_likelihood(vae, x, 2, 3)
        assert [parameter.requires_grad for parameter in vae.parameters()] == before
    assert wanted
    assert not any(wanted)


def test_images_are_encoded_once_and_gradients_stay_within_the_rows():
    vae, x, encoded, decoded = small_vae(), binary(9), [], []
    vae.posterior.register_forward_hook(lambda module, inputs, out: encoded.append(len(inputs[0])))
    vae.decoder.register_forward_hook(lambda module, inputs, out: decoded.append(inputs[0].shape[:-1].numel()))
    for chains, rows in ((4, 10), (25, 7)):
        encoded.clear()
        decoded.clear()
        annealed_log_likelihood(vae, x, chains, 11, rows=rows)
        assert sum(encoded) == 9
        assert max(decoded) <= rows


@pytest.mark.parametrize("wrong", [{"chains": 0}, {"temperatures": 0}, {"rows": 0}, {"chains": 2.5}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        annealed_log_likelihood(small_vae(), binary(2), **wrong)


def test_one_chain_leaves_unsaid_what_it_cannot_say():
    estimate = annealed_log_likelihood(small_vae(), binary(2), 1, 5)
    assert estimate.standard_error.isnan().all() & estimate.spread.isnan().all()
    assert torch.equal(estimate.mean_log_weight, estimate.log_likelihood)


@pytest.mark.parametrize("name", sweep(FEW, lambda name: name != "maf"))
def test_the_evidence_of_simulated_images_lies_in_the_sandwich(name):
    vae = gaussian_vae(name)
    images = simulate(vae, 60, seed=3)
    estimate, evidence = sandwich(vae, images, 4, 200), vae.decoder.evidence(images.x)
    below, above = evidence - estimate.log_likelihood, estimate.upper - evidence
    for distance in (below, above):
        assert distance.mean() > -3 * distance.std() / 60**0.5
    assert (below + above).mean() < 0.1
    short = sandwich(vae, images, 4, 6)
    assert (short.upper - short.log_likelihood).mean() > 2 * (below + above).mean(), (
        "the test is no weaker than a bound"
    )


def test_simulated_images_come_from_the_model_and_depend_on_seed_and_place():
    vae = gaussian_vae()
    images = simulate(vae, 4000)
    covariance = vae.decoder.weight @ vae.decoder.weight.T + 0.25 * torch.eye(SEEN, dtype=torch.float64)
    centered = images.x - vae.decoder.offset
    assert_mean(centered[:, :, None] * centered[:, None], covariance)
    assert torch.equal(simulate(vae, 3).x, images.x[:3])
    assert not torch.equal(simulate(vae, 3, seed=1).x, images.x[:3])


@pytest.mark.parametrize("indices", [torch.arange(1), torch.arange(2.0), torch.tensor([True, False]), torch.arange(3)])
def test_indices_that_are_no_numbers_of_the_images_are_refused(indices):
    for estimator in (
        annealed_log_likelihood,
        inference_gaps,
        lambda *given, **more: log_likelihood(*given[:2], 5, **more),
    ):
        with pytest.raises(ValueError, match="indices take a whole number for each of 2 images"):
            estimator(small_vae(), binary(2), 2, 3, indices=indices)


def test_nothing_to_work_on_is_refused():
    for call in (lambda: annealed_log_likelihood(small_vae(), binary(0)), lambda: simulate(small_vae(), 0)):
        with pytest.raises(ValueError, match="at least"):
            call()
    with pytest.raises(ValueError, match=r"as nfvae\.simulate"):
        sandwich(small_vae(), binary(2))
