"""The gaps: that they add up, and that every flow is set free by one definition."""

import pytest
import torch
from torch import nn

from nfvae.estimators import gaps, inference_gaps
from nfvae.estimators.gaps import _LocalFit
from nfvae.flows import Flow, Parameters
from nfvae.flows.actnorm import ScaleShift
from tests.estimators.test_annealed import LATENT, gaussian_vae
from tests.helpers.flows import ALL, random_flow
from tests.helpers.models import binary, small_vae


def test_the_gaps_sum_to_the_distance_and_a_full_family_has_no_approximation_gap():
    found = {}
    for name in ("none", "cholesky"):
        torch.manual_seed(0)
        vae = gaussian_vae(name)
        x = vae.decoder(torch.randn(5, LATENT, dtype=torch.float64)).sample()
        found[name] = split = inference_gaps(vae, x, 8, 300, starts=1)
        distance = split.log_likelihood - split.elbo
        torch.testing.assert_close(split.approximation + split.amortization, distance)
        torch.testing.assert_close(split.log_likelihood, vae.decoder.evidence(x), atol=0.05, rtol=0)
        assert (split.amortization > 0).all()
    assert found["cholesky"].approximation.abs().max() < 0.05
    posterior = torch.linalg.inv(torch.eye(LATENT) + vae.decoder.weight.T.float() @ vae.decoder.weight.float() / 0.25)
    best = (posterior.inverse().diagonal().log().sum() + posterior.logdet()) / 2  # KL of the best diagonal Gaussian
    assert found["none"].approximation.mean() == pytest.approx(float(best), abs=0.05)


def test_gaps_of_an_image_do_not_depend_on_its_batch_and_leave_the_model_alone():
    vae, x = small_vae("planar").double(), binary(3).double()
    before = [parameter.clone() for parameter in vae.parameters()]
    whole = inference_gaps(vae, x, 2, 10, starts=1)
    alone = inference_gaps(vae, x[2:], 2, 10, starts=1, indices=torch.tensor([2]))
    torch.testing.assert_close(alone.elbo_best, whole.elbo_best[2:])
    assert all(map(torch.equal, before, vae.parameters()))
    assert not vae.posterior.flow.head._forward_hooks


def test_a_global_flow_is_not_optimized():
    vae = small_vae("planar", context=0).double()
    split = inference_gaps(vae, binary(2).double(), 2, 10, starts=0)
    assert split.amortization.isfinite().all()


def local_fit(case):
    """The local fit of three images under a flow with large random parameters."""
    vae = small_vae(case, context=4).double().eval()
    vae.posterior.flow = random_flow(case, 3, 4, 2)
    with torch.no_grad():
        return vae, _LocalFit(vae, binary(3).double(), 0, [0, 1, 2])


def elbo_and_gradients(fit, free):
    free = {name: value.detach().requires_grad_() for name, value in free.items()}
    with torch.enable_grad():
        value = fit.log_weight(free, fit.all, fit.sources(fit.all, "test"))
        return value.detach(), torch.autograd.grad(value.sum(), list(free.values()))


@pytest.mark.parametrize("case", ALL)
def test_every_free_tensor_of_every_flow_receives_a_gradient(case):
    vae, fit = local_fit(case)
    free = fit.start(0)
    before, gradients = elbo_and_gradients(fit, free)
    for name, gradient in zip(free, gradients, strict=True):
        assert (gradient != 0).flatten(1).any(1).all(), name
    for head in vae.posterior.flow.modules():  # with free tensors, neither heads nor encoder matter
        if isinstance(head, Parameters) and head.weight is not None:
            nn.init.normal_(head.weight), nn.init.normal_(head.bias)
    nn.init.normal_(vae.posterior.encoder.head.weight)
    assert torch.equal(elbo_and_gradients(fit, free)[0], before)


@pytest.mark.parametrize("case", ALL)
def test_the_free_tensors_start_where_the_encoder_puts_the_posterior(case, monkeypatch):
    vae, fit = local_fit(case)
    noise = torch.randn(10, 3, 3, dtype=torch.float64)
    expected = vae.log_terms(fit.x, vae.posterior(fit.x).from_noise(noise)).log_weight
    monkeypatch.setattr(gaps, "_normal", lambda *_: noise.transpose(0, 1))
    torch.testing.assert_close(fit.log_weight(fit.start(0), fit.all, []), expected)


class Sly(Flow):
    """A flow that takes tensors from its head without calling it."""

    def __init__(self, features, context):
        super().__init__(features, context)
        self.head = Parameters({"shift": (features,)}, context)

    def forward(self, h=None):
        shift = self.head.flat(h)
        return ScaleShift(torch.zeros_like(shift), shift)


def test_a_flow_whose_head_cannot_be_set_free_is_refused():
    vae = small_vae(features=3, context=4)
    vae.posterior.flow = Sly(3, 4)
    with pytest.raises(ValueError, match=r"Sly takes tensors from head without calling it as head\(h\)"):
        inference_gaps(vae, binary(2), 2, 10, starts=0)
