"""The importance-sampled likelihood against truth: closed forms, a grid, and a plain double loop."""

import math
from itertools import islice

import numpy as np
import pytest
import torch
from scipy.stats import genpareto

from nfvae import FlowVAE
from nfvae.data import DataModule
from nfvae.estimators import Estimate, k_values, log_likelihood, log_weights, pareto_khat
from nfvae.estimators.streaming import image_noise
from nfvae.flows import DiagonalNormal
from nfvae.flows.planar import Planar
from nfvae.models.encoders import Encoder, Encoding
from tests.helpers.flows import FEW, small_flow, small_options
from tests.helpers.models import PIXELS, SquashedPlanar, binary, constant_vae, exact_vae, small_vae
from tests.helpers.sweeps import first, sweep

every_flow = pytest.mark.parametrize("name", FEW)


@every_flow
def test_a_constant_decoder_has_likelihood_one_half_per_pixel(name):
    estimate = log_likelihood(constant_vae(name), binary(3), 40_000)
    errors = (estimate.log_likelihood + PIXELS * math.log(2)) / estimate.standard_error
    assert (estimate.standard_error < 0.1).all()
    assert (errors.abs() < 4.5).all()
    assert (estimate.elbo < -PIXELS * math.log(2)).all()


@pytest.mark.parametrize("bijection", [Planar, SquashedPlanar])
def test_a_flow_that_is_not_invertible_is_caught(bijection):
    """It counts p(x, z) once for every point that shares an image: E_q[p/q] = 1 fails, as it does for no other."""
    vae = constant_vae("planar")
    vae.posterior.flow.bijection = bijection
    with torch.no_grad():
        vae.posterior.flow.head.weight.zero_()
        vae.posterior.flow.head.bias.copy_(torch.tensor([-3.0, 0, 0, 0, 1, 0, 0, 0, 0, 0]))  # u, w and b; w·u = -3, 0
    estimate = log_likelihood(vae, binary(3), 40_000)
    excess = (estimate.log_likelihood + PIXELS * math.log(2)) / estimate.standard_error
    assert (excess > 10).all() if bijection is SquashedPlanar else (excess.abs() < 4.5).all()


@pytest.mark.parametrize("samples", [1, 2, 7, 99, 100, 101, 1234, 10_003])
@pytest.mark.parametrize("rows", first([64, 1, 1000, 20_000]))
def test_an_exact_posterior_gives_the_evidence_for_every_number_of_samples(samples, rows):
    if samples / rows > 200:
        pytest.skip("the same with fewer blocks is quicker")
    vae, decoder = exact_vae()
    x = decoder(torch.randn(5, 3, dtype=torch.float64)).sample()
    estimate, evidence = log_likelihood(vae, x, samples, rows=rows), decoder.evidence(x)
    torch.testing.assert_close(estimate.log_likelihood, evidence)
    torch.testing.assert_close(estimate.elbo, evidence)
    torch.testing.assert_close(estimate.k_curve, evidence[:, None].expand(-1, len(k_values(samples))))
    torch.testing.assert_close(estimate.ess, torch.full((5,), float(samples), dtype=torch.float64))
    if samples > 1:
        assert (estimate.standard_error < 1e-6).all()


@pytest.fixture(scope="module")
def digits():
    data = DataModule("digits", "threshold")
    data.setup()
    return data


def trained(name, data):
    """A VAE with two latents, trained for some seconds."""
    torch.manual_seed(0)
    narrow = {"encoder_options": {"hidden": [64]}, "decoder_options": {"hidden": [64]}}
    module = FlowVAE(name, 3, small_options(name), latent=2, context=8, shape=[8, 8], **narrow)
    optimizer = torch.optim.Adam(module.parameters(), 5e-3)
    x = data.splits.train.float()
    for _ in range(300):
        loss, _ = module.loss_and_metrics(x[torch.randint(len(x), (128,))])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        module.model.posterior.encoder.head.bias[2:4] += 0.7  # wide enough to reach every mode of the exact posterior
    return module.model.eval()


def integrated(model, x):
    """log p(x) by summing p(x|z) p(z) over a fine grid, in float64."""
    axis = torch.linspace(-6, 6, 601)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        joint = [
            (model.decode(part[:, None]).log_prob(x) + model.prior().log_prob(part)[:, None]).double()
            for part in grid.split(20_000)
        ]
    return torch.cat(joint).logsumexp(0) + 2 * math.log(12 / 600)


@pytest.mark.parametrize("name", sweep(FEW, lambda name: name != "maf"))
def test_agrees_with_integration_over_two_latents_and_knows_its_error(name, digits):
    model, x = trained(name, digits), digits.splits.test[:4].float()
    truth = integrated(model, x)
    estimate = log_likelihood(model, x, 5000)
    assert (estimate.khat < 0.7).all()
    assert (estimate.standard_error < 0.1).all()
    assert ((estimate.log_likelihood - truth).abs() < 3 * estimate.standard_error).all()
    curve = estimate.k_curve.mean(0)
    assert (curve.diff() > -3 * estimate.standard_error.mean()).all()
    assert curve[0] < curve[-1] - 0.05
    # 200 estimates of one image: the index alone changes the noise
    for image, exact in zip(x[:2], truth[:2], strict=True):
        repeats = log_likelihood(model, image.expand(200, -1), 2000, seed=1)
        scores = (repeats.log_likelihood - exact) / repeats.standard_error
        assert 0.85 < scores.std() < 1.15
        assert scores.mean().abs() < 0.35


@every_flow
@pytest.mark.parametrize("samples", [37, 250])
def test_a_double_loop_in_float64_gives_the_same(name, samples):
    vae, x = small_vae(name).double(), binary(3).double()
    estimate = log_likelihood(vae, x, samples, seed=5, indices=torch.tensor([4, 9, 2]))
    torch.testing.assert_close(log_weights(vae, x, samples, seed=5, indices=torch.tensor([4, 9, 2])).logsumexp(0),
                               estimate.log_likelihood + math.log(samples))  # fmt: skip
    for i, index in enumerate([4, 9, 2]):
        q = vae.posterior(x[i : i + 1])
        noise = torch.cat(list(islice(image_noise(5, index, q.base.loc), 3)))
        logs, kls, draws = [], [], []
        for eps in noise[:samples]:
            z0 = q.base.loc[0] + q.base.scale[0] * eps
            z, log_det = q.bijection.forward_and_log_det(z0[None])
            log_base = sum(-math.log(s) - math.log(2 * math.pi) / 2 - e**2 / 2
                           for s, e in zip(q.base.scale[0].tolist(), eps.tolist(), strict=True))  # fmt: skip
            logits = vae.decoder.head(vae.decoder.trunk(z))[0].tolist()
            likelihood = sum(-math.log1p(math.exp(-v if pixel else v)) for v, pixel in zip(logits, x[i], strict=True))
            prior = sum(-(v**2) / 2 - math.log(2 * math.pi) / 2 for v in z[0].tolist())
            log_q = log_base - log_det.item()
            logs.append(likelihood + prior - log_q)
            kls.append(log_q - prior)
            draws.append(z[0].tolist())
        w, draws = np.exp(logs), np.array(draws)
        grouped = [np.mean([math.log(w[g : g + k].mean()) for g in range(0, samples // k * k, k)])
                   for k in k_values(samples)]  # fmt: skip
        expected = Estimate(
            log_likelihood=math.log(w.mean()),
            elbo=np.mean(logs),
            kl=np.mean(kls),
            standard_error=w.std(ddof=1) / math.sqrt(samples) / w.mean(),
            ess=w.sum() ** 2 / (w**2).sum(),
            khat=plain_khat(w),
            k_curve=grouped,
            posterior_mean=draws.mean(0),
            posterior_variance=draws.var(0, ddof=1),
        )
        for field, one, other in zip(Estimate._fields, estimate, expected, strict=True):
            np.testing.assert_allclose(one[i].numpy(), other, rtol=1e-6, atol=1e-6, err_msg=field)


def plain_khat(weights):
    """Zhang & Stephens (2009) with the prior of Vehtari et al. (2024), a value at a time."""
    ordered = sorted(weights)
    tail = math.ceil(min(len(ordered) / 5, 3 * math.sqrt(len(ordered))))
    excess = [value - ordered[-tail - 1] for value in ordered[-tail:]]
    quartile, candidates = excess[int(tail / 4 + 0.5) - 1], []
    m = 30 + int(math.sqrt(tail))
    for j in range(1, m + 1):
        theta = 1 / excess[-1] + (1 - math.sqrt(m / (j - 0.5))) / (3 * quartile)
        k = -sum(math.log(1 - theta * value) for value in excess) / tail
        candidates.append((theta, tail * (math.log(theta / k) + k - 1)))
    posterior = [1 / sum(math.exp(other - profile) for _, other in candidates) for _, profile in candidates]
    theta = sum(share * theta for share, (theta, _) in zip(posterior, candidates, strict=True))
    shape = sum(math.log(1 - theta * value) for value in excess) / tail
    return (tail * shape + 10 * 0.5) / (tail + 10)


@pytest.mark.parametrize("shape", [-0.3, 0.2, 0.7, 1.3])
def test_khat_finds_the_shape_of_a_pareto_tail(shape):
    values = genpareto.rvs(shape, size=(3001, 40), random_state=0)
    tail = torch.from_numpy(np.log(values)).sort(0, descending=True).values
    assert pareto_khat(tail).mean().item() == pytest.approx(shape, abs=0.03)


def khat_of(log_weights):
    """k̂ of the log-weights of one image, of as many of the largest as an evaluation keeps."""
    count = math.ceil(min(len(log_weights) / 5, 3 * len(log_weights) ** 0.5))
    return pareto_khat(torch.as_tensor(log_weights).double().topk(count + 1).values[:, None]).item()


def test_khat_of_equal_weights_is_that_of_a_light_tail():
    equal = torch.full((5000,), -44.0)
    rounded = equal + 4e-6 * torch.randint(-3, 3, (5000,))
    assert khat_of(equal) == khat_of(rounded) == 0


def test_khat_leaves_out_weights_that_equal_the_threshold():
    """Against arviz.psislw of arviz 0.23.4, for whole numbers of a Poisson variable, many of them tied."""
    weights = torch.from_numpy(np.random.default_rng(0).poisson(1.0, 5000))
    assert khat_of(weights) == pytest.approx(0.1475679, abs=1e-5)
    assert khat_of(torch.cat([torch.ones(100), torch.zeros(4900)])) < 0.5
    assert khat_of(torch.cat([torch.full((3,), 9.0), torch.zeros(4997)])) == math.inf
    alone, both = khat_of(weights), torch.stack([weights, torch.randn(5000)], 1).double().topk(214, 0).values
    assert pareto_khat(both)[0].item() == pytest.approx(alone)


class Nothing(Encoder):
    """An encoder that says the prior of every image."""

    def forward(self, x):
        zeros = x.new_zeros(len(x), 2)
        return Encoding(zeros, zeros, x.new_zeros(len(x), 0))


def test_an_exact_posterior_is_believed():
    vae = constant_vae("none")
    vae.posterior.encoder, vae.posterior.flow = Nothing(), small_flow("none", vae.posterior.flow.features)
    estimate = log_likelihood(vae, binary(5), 5000)
    assert (estimate.khat < 0.7).all()
    torch.testing.assert_close(estimate.log_likelihood, torch.full((5,), -PIXELS * math.log(2)).double())


def test_few_samples_leave_unsaid_what_they_cannot_say():
    one, some = (log_likelihood(small_vae(), binary(2), samples) for samples in (1, 20))
    assert one.standard_error.isnan().all()
    assert one.posterior_variance.isnan().all()
    assert one.khat.isnan().all() & some.khat.isnan().all()
    assert not some.standard_error.isnan().any()
    assert not log_likelihood(small_vae(), binary(2), 25).khat.isnan().any()
    assert one.k_curve.shape == (2, 1)
    torch.testing.assert_close(one.ess, torch.ones(2, dtype=torch.float64))


def test_the_estimate_of_an_image_depends_on_seed_and_index_alone():
    vae, x = small_vae(), binary(7)
    whole = log_likelihood(vae, x, 350)
    for rows in (1, 10, 350, 1050, 100_000):
        for field, one, other in zip(Estimate._fields, log_likelihood(vae, x, 350, rows=rows), whole, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5, msg=field)
    backwards = log_likelihood(vae, x.flip(0), 350, indices=torch.arange(7).flip(0))
    torch.testing.assert_close(backwards.log_likelihood.flip(0), whole.log_likelihood)
    alone = log_likelihood(vae, x[5:6], 350, indices=torch.tensor([5]))
    torch.testing.assert_close(alone.log_likelihood, whole.log_likelihood[5:6])
    for other in (log_likelihood(vae, x, 350, seed=1), log_likelihood(vae, x, 350, indices=torch.arange(7) + 1)):
        assert (other.log_likelihood != whole.log_likelihood).all()


def test_what_passes_in_several_spans_adds_up():
    vae, x = small_vae().double(), binary(2).double()
    weights = log_weights(vae, x, 20_250)
    assert len(weights.flatten().unique()) == weights.numel()  # no noise is used twice
    estimate = log_likelihood(vae, x, 20_250)
    torch.testing.assert_close(estimate.log_likelihood, weights.logsumexp(0) - math.log(20_250))
    torch.testing.assert_close(estimate.ess, (2 * weights.logsumexp(0) - (2 * weights).logsumexp(0)).exp())
    torch.testing.assert_close(estimate.khat, pareto_khat(weights.sort(0, descending=True).values[:428]))
    thousands = weights[:20_000].view(20, 1000, 2).logsumexp(1) - math.log(1000)
    torch.testing.assert_close(estimate.k_curve[:, 3], thousands.mean(0))


def test_fewer_samples_are_the_first_of_more():
    vae, x = small_vae(), binary(3)
    torch.testing.assert_close(log_weights(vae, x, 30), log_weights(vae, x, 230)[:30])


def test_several_threads_give_the_same_and_leave_torch_as_it_was():
    vae, x = small_vae(), binary(5)
    alone = log_likelihood(vae, x, 300, rows=300)
    torch.set_num_threads(2)
    try:
        together = log_likelihood(vae, x, 300, rows=300)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    for field, one, other in zip(Estimate._fields, together, alone, strict=True):
        torch.testing.assert_close(one, other, msg=field)
    assert not any(value.requires_grad for value in together)


def test_random_numbers_drawn_elsewhere_are_not_touched():
    vae, x, state = small_vae(), binary(2), torch.get_rng_state()
    log_likelihood(vae, x, 10)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_image_is_encoded_once_and_blocks_stay_within_the_rows():
    vae, x, encoded, built, decoded = small_vae(), binary(9), [], [], []
    vae.posterior.register_forward_hook(lambda module, inputs, out: encoded.append(len(inputs[0])))
    given = vae.posterior.flow.given
    vae.posterior.flow.given = lambda h: built.append(len(h)) or given(h)
    vae.decoder.register_forward_hook(lambda module, inputs, out: decoded.append(inputs[0].shape[:-1].numel()))
    for samples, rows in ((10, 45), (2500, 999)):
        for log in (encoded, built, decoded):
            log.clear()
        log_likelihood(vae, x, samples, rows=rows)
        assert sum(encoded) == sum(built) == 9
        assert sum(decoded) == 9 * samples
        assert max(decoded) <= rows
    assert log_likelihood(vae, x, 10).log_likelihood.dtype == torch.float64


@pytest.mark.parametrize("wrong", [{"samples": 0}, {"samples": -3}, {"rows": 0}])
def test_no_samples_are_refused(wrong):
    with pytest.raises(ValueError, match=r"(samples|rows) must be at least 1"):
        log_likelihood(small_vae(), binary(2), **{"samples": 5, **wrong})


@pytest.mark.parametrize("samples", [1, 2, 5, 400])
def test_the_mixture_scales_every_second_noise_and_weighs_all_by_the_density_of_both(samples):
    vae, x = small_vae().double(), binary(2).double()
    found = log_weights(vae, x, samples, proposal="mixture")
    posterior, wide = vae.posterior(x), (samples // 2) / samples
    noise = torch.stack([torch.cat(list(islice(image_noise(0, i, posterior.base.loc), 4))) for i in range(2)], 1)
    noise = noise[:samples] * torch.tensor([1.0, 1.3] * samples)[:samples, None, None]
    draw = posterior.from_noise(noise)
    standard, scaled = (DiagonalNormal(torch.zeros(3), torch.full((3,), scale)) for scale in (1.0, 1.3))
    density = (1 - wide) * standard.log_prob(noise).exp() + wide * scaled.log_prob(noise).exp()
    terms = vae.log_terms(x, draw)
    expected = terms.log_weight + standard.log_prob(noise) - density.log()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    estimate = log_likelihood(vae, x, samples, proposal="mixture")
    torch.testing.assert_close(estimate.log_likelihood, expected.logsumexp(0) - math.log(samples))
    torch.testing.assert_close(estimate.elbo, terms.log_weight[::2].mean(0), msg="of the posterior's own samples")
    torch.testing.assert_close(estimate.kl, terms.kl[::2].mean(0))
    torch.testing.assert_close(estimate.posterior_mean, draw.z[::2].mean(0))
    torch.testing.assert_close(estimate.k_curve[:, 0], expected.mean(0) if samples > 1 else estimate.log_likelihood)


@every_flow
def test_the_mixture_is_unbiased(name):
    estimate = log_likelihood(constant_vae(name), binary(3), 40_000, proposal="mixture")
    errors = (estimate.log_likelihood + PIXELS * math.log(2)) / estimate.standard_error
    assert (estimate.standard_error < 0.1).all()
    assert (errors.abs() < 4.5).all()


def test_an_unknown_proposal_is_refused():
    with pytest.raises(ValueError, match="unknown proposal 'narrow'; known proposals: posterior, mixture"):
        log_likelihood(small_vae(), binary(1), 5, proposal="narrow")
