"""Gradient estimators against their definitions: the inverse, the exact posterior, the expectation."""

import pytest
import torch

from nfvae.estimators import GRADIENTS, elbo, iwae, make_objective, path_draw, reverse_kl
from nfvae.flows import DiagonalNormal, FlowDistribution
from nfvae.flows.cholesky import LowerTriangularAffine
from nfvae.models import VAE
from nfvae.models.priors.normal import StandardNormal
from nfvae.training import FlowVAE
from tests.helpers.flows import CASES, CONTEXT, random_context, random_flow
from tests.helpers.models import LinearGaussian, binary, small_vae

BATCH = 4


def density(name, features=3, depth=2):
    flow, h = random_flow(name, features, CONTEXT, depth), random_context(CONTEXT, BATCH)
    loc = torch.randn(BATCH, features, dtype=torch.float64, requires_grad=True)
    return FlowDistribution(DiagonalNormal(loc, (0.3 * loc.detach()).exp()), flow(h))


def seeded(call):
    torch.manual_seed(3)
    return call()


@pytest.mark.parametrize("name", CASES)
def test_the_path_gradient_is_that_of_the_density_at_a_fixed_point(name):
    """What comes forwards through the flow is what goes backwards through its inverse."""
    q = density(name)
    draw, plain = seeded(lambda: path_draw(q, (5,))), seeded(lambda: q.draw((5,)))
    torch.testing.assert_close(tuple(draw), tuple(plain), rtol=1e-10, atol=1e-10)
    fixed = draw.z.detach().requires_grad_()
    (slow,) = torch.autograd.grad(q.log_prob(fixed).sum(), fixed)
    (fast,) = torch.autograd.grad(draw.log_prob.sum(), draw.z)
    torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-10 * float(1 + slow.abs().max()))


def exact_posterior():
    """A linear-Gaussian model whose exact posterior is made of tensors that could be trained."""
    decoder = LinearGaussian()
    x = decoder(torch.randn(BATCH, 3, dtype=torch.float64)).sample()
    exact = decoder.posterior(x)
    own = [each.clone().requires_grad_() for each in (exact.bijection.matrix, exact.bijection.shift)]
    base = DiagonalNormal(torch.zeros(BATCH, 3, dtype=torch.float64), torch.ones(BATCH, 3, dtype=torch.float64))
    posterior = lambda _: FlowDistribution(base, LowerTriangularAffine(own[0].tril(), own[1]))  # noqa: E731
    return VAE(posterior, decoder, StandardNormal(3).double()), x, own


@pytest.mark.parametrize(("gradient", "bound"), [("path", elbo), ("dreg", iwae)])
def test_it_is_zero_for_every_sample_of_an_exact_posterior(gradient, bound):
    vae, x, own = exact_posterior()
    found = torch.autograd.grad(bound(GRADIENTS.make(gradient)(vae, x, 3)), own)
    assert max(each.abs().max() for each in found) < 1e-12
    plain = torch.autograd.grad(elbo(vae(x, 3)), own)
    assert max(each.abs().max() for each in plain) > 1e-2


def gradients(gradient, bound, vae, x, samples, times):
    """Return the gradient of each parameter in several tries, with shape (times, parameters)."""
    estimate, found = GRADIENTS.make(gradient).double(), []
    for _ in range(times):
        value = bound(estimate(vae, x, samples))
        found.append(torch.cat([each.flatten() for each in torch.autograd.grad(value, list(vae.parameters()))]))
    return torch.stack(found)


@pytest.mark.parametrize(
    ("gradient", "bound", "samples"),
    [
        ("path", elbo, 2000),
        ("reinforce", elbo, 4000),
        ("dreg", iwae, 5),
        ("path", lambda terms: elbo(terms, 0.3), 2000),
    ],
)
@pytest.mark.parametrize("name", ["planar", "iaf", "coupling"])
def test_its_expectation_is_that_of_the_plain_one(gradient, bound, samples, name):
    vae, x = small_vae(name).double(), binary(2).double()
    vae.posterior.flow = random_flow(name, 3, 4, 2, gain=0.3)
    with torch.no_grad():
        vae.decoder.head.weight.mul_(20)
    x, times = (x, 40) if samples > 100 else (x.repeat(200, 1), 40)
    one, other = (gradients(each, bound, vae, x, samples, times) for each in (gradient, "plain"))
    error = ((one.var(0) + other.var(0)) / times).sqrt()
    assert ((one.mean(0) - other.mean(0)).abs() < 5.5 * error + 1e-9).all()
    assert (one.mean(0).abs() > 5.5 * error).any(), "the test sees no gradient"


def test_of_one_sample_reinforce_keeps_a_moving_mean():
    vae, x = small_vae().double(), binary(2).double()
    estimate = GRADIENTS.make("reinforce").double()
    first = estimate(vae, x, 1).log_weight.mean()
    torch.testing.assert_close(estimate.total / estimate.weight, first.detach())
    second = estimate(vae, x, 1).log_weight.mean()
    expected = (0.99 * first.detach() + second.detach()) / 1.99
    torch.testing.assert_close(estimate.total / estimate.weight, expected)


@pytest.mark.parametrize("samples", [1, 3])
def test_what_reinforce_keeps_is_finite_from_the_start(samples):
    estimate = GRADIENTS.make("reinforce")
    for _ in range(2):
        assert all(value.isfinite() for value in estimate.state_dict().values())
        estimate(small_vae(), binary(2), samples)


def test_distillation_along_the_path_has_no_noise_where_the_student_is_the_teacher():
    student = density("iaf")
    teacher = FlowDistribution(DiagonalNormal(student.base.loc.detach(), student.base.scale), student.bijection)
    noise = {}
    for path in (True, False):
        loss = reverse_kl(student, teacher.log_prob, 10, path=path).sum()
        noise[path] = float(torch.autograd.grad(loss, student.base.loc)[0].abs().max())
    assert noise[True] < 1e-9
    assert noise[False] > 1e-2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"gradient": "path", "objective": "iwae"},
            "gradient path is biased for an objective that weighs its samples, as iwae: take dreg",
        ),
        ({"gradient": "dreg"}, "gradient dreg is of an objective that weighs its samples, as iwae: take path for elbo"),
        ({"gradient": "reinforce", "objective_options": {"beta": 0.5}}, "gradient reinforce is of the objective elbo"),
        ({"gradient": "steep"}, "unknown gradient 'steep'; known gradients: dreg, path, plain, reinforce"),
    ],
)
def test_what_does_not_fit_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        FlowVAE(**settings)


def test_objectives_and_gradients_meet_in_training():
    for objective, gradient in (("elbo", "path"), ("iwae", "dreg"), ("elbo", "reinforce")):
        module = FlowVAE(
            "iaf", 2, {"hidden": 8}, 4, latent=3, shape=[3, 4], objective=objective, gradient=gradient, samples=3
        )
        loss, metrics = module.loss_and_metrics(binary(5))
        loss.backward()
        assert torch.isfinite(loss)
        assert set(metrics) >= {"elbo", "kl", "reconstruction", "log_det"}
        assert all(parameter.grad is not None for parameter in module.model.parameters())
        assert make_objective(objective)(module.model(binary(5), 3)).shape == ()
