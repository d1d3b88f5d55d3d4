"""The gaps: that they add up, and that every flow is set free by one definition."""

import pytest
import torch
from torch import nn

from nfvae.estimators import gaps, inference_gaps
from nfvae.estimators.gaps import FREE, _LocalFit
from nfvae.flows import Flow, Parameters
from nfvae.flows.actnorm import ScaleShift
from tests.estimators.test_annealed import LATENT, gaussian_vae
from tests.helpers.flows import ALL, random_flow
from tests.helpers.models import binary, small_vae
from tests.helpers.sweeps import exhaustive


def diagonal_kl(vae):
    """The KL of the best diagonal Gaussian from the posterior of a linear-Gaussian model."""
    weight = vae.decoder.weight
    posterior = torch.linalg.inv(torch.eye(LATENT).double() + weight.T @ weight / vae.decoder.noise**2)
    return float(posterior.inverse().diagonal().log().sum() + posterior.logdet()) / 2


def test_the_gaps_sum_to_the_distance_and_a_full_family_has_no_approximation_gap():
    found = {}
    for name in ("none", "cholesky"):
        torch.manual_seed(0)
        vae = gaussian_vae(name)
        x = vae.decode(torch.randn(5, LATENT, dtype=torch.float64)).sample()
        found[name] = split = inference_gaps(vae, x, 8, 300, starts=1)
        distance = split.log_likelihood - split.elbo
        torch.testing.assert_close(split.approximation + split.amortization, distance)
        torch.testing.assert_close(split.log_likelihood, vae.decoder.evidence(x), atol=0.05, rtol=0)
        assert (split.amortization > 0).all()
    assert found["cholesky"].approximation.abs().max() < 0.05
    assert found["none"].approximation.mean() == pytest.approx(diagonal_kl(vae), abs=0.05)


def test_gaps_of_an_image_do_not_depend_on_its_batch_and_leave_the_model_alone(short_gaps):
    vae, x = small_vae("planar").double(), binary(3).double()
    before = [parameter.clone() for parameter in vae.parameters()]
    whole = inference_gaps(vae, x, 2, 10, starts=1)
    alone = inference_gaps(vae, x[2:], 2, 10, starts=1, indices=torch.tensor([2]))
    torch.testing.assert_close(alone.elbo_best, whole.elbo_best[2:])
    assert all(map(torch.equal, before, vae.parameters()))


def test_a_global_flow_is_not_optimized():
    vae = small_vae("planar", context=0).double()
    split = inference_gaps(vae, binary(2).double(), 2, 10, starts=0)
    assert split.amortization.isfinite().all()


@pytest.mark.parametrize("free", FREE)
def test_a_global_flow_is_the_same_for_both_definitions(free):
    vae = small_vae("planar", context=0).double()
    fit = _LocalFit(vae, binary(2).double(), FREE[free], 0, [0, 1])
    expected = vae.posterior(fit.x).from_noise(torch.ones(2, 3).double())
    torch.testing.assert_close(
        fit.freedom.build(vae.posterior, fit.start(0)).from_noise(torch.ones(2, 3).double()), expected
    )


def local_fit(case, free="layers"):
    """The local fit of three images under a flow with large random parameters."""
    vae = small_vae(case, context=4).double().eval()
    vae.posterior.flow = random_flow(case, 3, 4, 2)
    with torch.no_grad():
        return vae, _LocalFit(vae, binary(3).double(), FREE[free], 0, [0, 1, 2])


def elbo_and_gradients(fit, free):
    free = {name: value.detach().requires_grad_() for name, value in free.items()}
    with torch.enable_grad():
        value = fit.log_weight(free, fit.all, fit.sources(fit.all, "test"))
        return value.detach(), torch.autograd.grad(value.sum(), list(free.values()))


every_flow_and_freedom = pytest.mark.parametrize(("case", "free"), [(case, free) for case in ALL for free in FREE])


@every_flow_and_freedom
def test_every_free_tensor_of_every_flow_receives_a_gradient(case, free):
    vae, fit = local_fit(case, free)
    if case in ("none", "permutation") and free == "context":
        pytest.skip("does not look at its context")
    start = fit.start(0)
    before, gradients = elbo_and_gradients(fit, start)
    for name, gradient in zip(start, gradients, strict=True):
        assert (gradient != 0).flatten(1).any(1).all(), name
    heads = [head for head in vae.posterior.flow.modules() if isinstance(head, Parameters) and head.weight is not None]
    for head in heads:
        nn.init.normal_(head.weight), nn.init.normal_(head.bias)
    nn.init.normal_(vae.posterior.encoder.head.weight)  # which the free tensors replace
    after = elbo_and_gradients(fit, start)[0]
    assert torch.equal(after, before) == (free == "layers" or not heads)


@every_flow_and_freedom
def test_the_free_tensors_start_where_the_encoder_puts_the_posterior(case, free, monkeypatch):
    vae, fit = local_fit(case, free)
    noise = torch.randn(10, 3, 3, dtype=torch.float64)
    expected = vae.log_terms(fit.x, vae.posterior(fit.x).from_noise(noise)).log_weight
    monkeypatch.setattr(gaps, "_normal", lambda *_: noise.transpose(0, 1))
    torch.testing.assert_close(fit.log_weight(fit.start(0), fit.all, []), expected)


@pytest.mark.parametrize("case", ALL)
def test_tensors_of_a_flow_are_free_by_their_own_names(case):
    vae, fit = local_fit(case)
    given = vae.posterior.flow.given(vae.posterior.encode(fit.x).h)
    assert list(fit.start(1)) == ["loc", "log_scale", *(f"flow.{name}" for name in given)]
    assert list(local_fit(case, "context")[1].start(1)) == ["loc", "log_scale", "h"]


class Own(Flow):
    """A flow of the user's own, which computes a tensor from the context in its own way."""

    def __init__(self, features, context):
        super().__init__(features, context)
        self.layer = nn.Linear(context, features)

    def given(self, h):
        return {"shift": self.layer(h).sin()}

    def build(self, given):
        return ScaleShift(torch.zeros_like(given["shift"]), given["shift"])


def test_a_flow_of_your_own_is_free_like_any_other():
    torch.manual_seed(0)
    vae = gaussian_vae("none")
    x = vae.decode(torch.randn(3, LATENT, dtype=torch.float64)).sample()
    plain = inference_gaps(vae, x, 2, 10, starts=1)
    vae.posterior.flow = Own(LATENT, 4).double()
    own = inference_gaps(vae, x, 2, 10, starts=1)
    assert (own.elbo < plain.elbo).all()  # the flow moves the posterior away from where the encoder put it
    torch.testing.assert_close(own.elbo_best, plain.elbo_best, atol=0.05, rtol=0)  # a Gaussian with one shift more


def test_unknown_freedom_is_refused():
    with pytest.raises(ValueError, match="unknown free tensor 'heads'; known free tensors: layers, context"):
        inference_gaps(small_vae(), binary(2), free="heads")


@exhaustive
def test_a_poor_head_counts_as_approximation_where_the_context_is_free():
    """Where heads make the same layers of every context, only the layers themselves can be made better."""
    torch.manual_seed(0)
    vae = gaussian_vae("cholesky", noise=0.2)
    for parameter in vae.posterior.flow.parameters():
        parameter.data *= 0  # whatever the context, the identity
    x = vae.decode(torch.randn(3, LATENT, dtype=torch.float64)).sample()
    layers, context = (inference_gaps(vae, x, 8, 300, starts=0, free=free) for free in ("layers", "context"))
    assert (layers.approximation.abs() < 0.05).all()
    lost = (layers.elbo_best - context.elbo_best).mean()
    assert float(lost) == pytest.approx(diagonal_kl(vae), abs=0.03)
