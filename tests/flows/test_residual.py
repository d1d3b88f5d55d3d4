"""Residual flows: slopes below one, and the three log-determinants."""

import math

import pytest
import torch

from nfvae import make_vae
from nfvae.estimators import log_likelihood
from nfvae.flows import make_flow
from nfvae.networks.spectral import ContractiveMLP, SpectralLinear
from tests.helpers.flows import random_flow

D, CALLS, POINTS = 3, 1_250, 8  # 10,000 draws


def flow_with(log_det, terms=2, dtype=torch.float64):
    flow = make_flow("residual", D, depth=1, hidden=8, log_det=log_det, terms=terms).to(dtype)
    torch.manual_seed(0)
    for name, parameter in flow.named_parameters():
        torch.nn.init.normal_(parameter, mean=2.0 if "bias" in name or "sharpness" in name else 0.0)  # steep everywhere
    for linear in flow.networks[0].linears:  # slopes of about 0.8, so that every term of the series counts
        linear.weight.data = torch.nn.init.eye_(linear.weight.data) + 0.1 * torch.randn_like(linear.weight.data)
        for _ in range(20):
            linear()  # the power iteration of twenty training steps
    return flow


def log_det_and_gradient(flow, z):
    flow.zero_grad()
    log_det = flow().forward_and_log_det(z)[1]
    log_det.mean().backward()
    weight = flow.networks[0].linears[1].weight.grad.flatten()
    return torch.cat([log_det.mean().detach()[None], weight, flow.networks[0].sharpness.grad])


def scores(kind, terms=2, calls=CALLS):
    """Standardized errors of the log-determinant and of its gradient, each a mean over many draws."""
    z = torch.randn(POINTS, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = log_det_and_gradient(flow_with("exact"), z)
    flow = flow_with(kind, terms)
    assert not flow.exact
    found = torch.stack([log_det_and_gradient(flow, z) for _ in range(calls)])
    return (found.mean(0) - expected) / (found.std(0) / math.sqrt(calls))


def test_the_roulette_and_its_gradient_are_unbiased():
    assert scores("roulette").abs().max() < 4.5  # of 67 standard normal numbers


def test_a_short_series_is_biased_and_a_long_one_is_not():
    assert scores("series", 1, 300).abs().max() > 10
    assert scores("series", 60, 300).abs().max() < 4.5


def test_evaluation_is_exact_and_training_says_what_it_is():
    flow, exact = flow_with("roulette").eval(), flow_with("exact").eval()
    z = torch.randn(5, D, dtype=torch.float64)
    assert flow.exact
    torch.testing.assert_close(flow().forward_and_log_det(z), exact().forward_and_log_det(z))
    assert not flow.train()().exact
    assert make_flow("residual", 64).kind == "exact"
    assert make_flow("residual", 65).kind == "roulette"


def test_the_probes_of_an_image_are_given_with_its_context():
    flow = make_flow("residual", D, context=2, depth=2, hidden=8, log_det="series")
    given = flow.given(torch.randn(6, 2))
    assert {name: tuple(value.shape) for name, value in given.items() if "probe" in name} == {
        "probe0": (6, D),
        "probe1": (6, D),
    }
    bijection, z = flow.build(given), torch.randn(4, 6, D)
    torch.testing.assert_close(bijection.forward_and_log_det(z), bijection.forward_and_log_det(z), rtol=0, atol=0)


@pytest.mark.parametrize("size", [0.1, 10.0])
def test_weights_stay_within_their_bound(size):
    linear = SpectralLinear(20, 30, 0.9).double()
    torch.nn.init.normal_(linear.weight, std=size / 5)
    norm = torch.linalg.matrix_norm(linear.eval()(), 2)
    expected = torch.linalg.matrix_norm(linear.weight, 2)
    assert norm < 0.9 * 1.01
    torch.testing.assert_close(norm, expected.clamp_max(0.9), rtol=1e-2, atol=0)


def test_the_power_iteration_goes_on_from_a_checkpoint():
    linear, other = SpectralLinear(20, 30, 0.9), SpectralLinear(20, 30, 0.9)
    for _ in range(3):
        linear()
    other.load_state_dict(linear.state_dict())
    assert torch.equal(linear(), other())


def test_a_contraction_contracts_and_multiplies_by_its_jacobian():
    network = ContractiveMLP(D, [8, 8], 0.97).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=2.0)
    contraction = network.eval()(torch.randn(8).double())
    x, y = 3 * torch.randn(2, 2_000, D, dtype=torch.float64)
    assert ((contraction(x) - contraction(y)).norm(dim=1) < (x - y).norm(dim=1)).all()
    expected = torch.stack([torch.autograd.functional.jacobian(contraction, point) for point in x[:5]])
    _, slopes = contraction.with_slopes(x[:5])
    torch.testing.assert_close(contraction.jacobian(slopes), expected)
    v = torch.randn(5, D, dtype=torch.float64)
    torch.testing.assert_close(contraction.push(slopes, v), torch.einsum("bij,bj->bi", expected, v))
    torch.testing.assert_close(contraction.pull(slopes, v), torch.einsum("bij,bi->bj", expected, v))


def test_the_inverse_is_found_to_the_last_digits():
    flow = random_flow("residual", 8, depth=4, gain=3.0)
    z = torch.randn(50, 8, dtype=torch.float64)
    torch.testing.assert_close(flow().inv(flow()(z)), z, rtol=0, atol=1e-10)


def test_a_likelihood_is_estimated_with_exact_log_determinants():
    model = make_vae("residual", depth=1, shape=[4, 4], latent=2, flow_options={"hidden": 8, "log_det": "roulette"})
    x = torch.bernoulli(torch.full((3, 16), 0.5))
    with pytest.raises(ValueError, match="a likelihood needs exact log-determinants"):
        log_likelihood(model, x, samples=5)
    assert log_likelihood(model.eval(), x, samples=5).log_likelihood.isfinite().all()
