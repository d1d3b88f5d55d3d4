"""Networks in reduced precision, every density and sum in float32."""

import pytest
import torch

from nfvae import annealed_log_likelihood, log_likelihood
from nfvae.flows import FLOWS
from nfvae.models import make_vae
from nfvae.numerics import precision
from tests.helpers.flows import small_options
from tests.models.test_networks import NAMES
from tests.models.test_priors import CASES

SHAPE = (12, 12)


def model(**settings):
    flow = settings.get("flow", "iaf")
    small = {"depth": 2, "flow_options": small_options(flow), "context": 4, "latent": 6, "shape": SHAPE}
    return make_vae(**{"flow": flow} | small | settings)


CHOICES = [
    *({"encoder": name, "decoder": name} for name in NAMES),
    *({"prior": name, "prior_options": options} for name, options in CASES.values()),
    *({"flow": name} for name in FLOWS),
]


def images():
    return torch.bernoulli(torch.full((100, 144), 0.3))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("settings", CHOICES, ids=str)
@torch.no_grad()
def test_the_elbo_of_a_batch_agrees_with_that_of_float32(settings, dtype):
    vae, x, found = model(**settings), images(), []
    for reduced in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", dtype, enabled=reduced):
            terms = vae(x, 2)
        assert {value.dtype for value in terms} == {torch.float32}
        found.append(terms.log_weight.mean())
    assert abs(found[0] - found[1]) < 0.1
    assert found[0] != found[1], "nothing was reduced"


@torch.no_grad()
def test_an_evaluation_is_in_float32_whatever_surrounds_it():
    vae, x = model().eval(), images()[:4]
    for estimate in (lambda: log_likelihood(vae, x, 100), lambda: annealed_log_likelihood(vae, x, 2, 10)):
        plain = estimate()
        with torch.autocast("cpu", torch.bfloat16):
            surrounded = estimate()
        assert surrounded.log_likelihood.dtype == torch.float64
        assert torch.equal(plain.log_likelihood, surrounded.log_likelihood)


@pytest.mark.parametrize("flow", ["planar", "iaf", "sylvester"])
def test_networks_are_in_bfloat16_where_torch_is_told_that_this_will_do(flow, monkeypatch):
    vae, x, seen = model(flow=flow).eval(), images()[:6], set()
    vae.decoder.register_forward_hook(lambda module, inputs, out: seen.add(out.dtype))
    estimates = [lambda: log_likelihood(vae, x, 200), lambda: annealed_log_likelihood(vae, x, 2, 20)]
    exact = [estimate().log_likelihood for estimate in estimates]
    monkeypatch.setattr(precision, "_has_bfloat16", lambda device: True)
    assert [estimate().log_likelihood.tolist() for estimate in estimates] == [each.tolist() for each in exact]
    assert seen == {torch.float32}
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")
    for estimate, expected in zip(estimates, exact, strict=True):
        seen.clear()
        found = estimate().log_likelihood
        assert seen == {torch.bfloat16}
        assert found.dtype == torch.float64
        assert 0 < (found - expected).abs().max() < 0.1
        assert abs((found - expected).mean()) < 0.03


def test_what_inference_mode_keeps_in_bfloat16_is_no_hindrance_to_a_later_training(monkeypatch):
    monkeypatch.setattr(precision, "_has_bfloat16", lambda device: True)
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")
    vae, x = model(), images()
    with torch.autocast("cpu", torch.bfloat16):
        log_likelihood(vae, x[:2], 10)
        vae(x).log_weight.mean().backward()
    assert all(parameter.grad is not None for parameter in vae.parameters())
