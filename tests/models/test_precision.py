"""Networks in reduced precision, every density and sum in float32."""

import pytest
import torch

from nfvae import annealed_log_likelihood, log_likelihood
from nfvae.flows import FLOWS
from nfvae.models import make_vae
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
