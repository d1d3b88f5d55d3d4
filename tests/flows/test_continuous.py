"""Continuous flows: the order of the integration, its trace, and points that do not meet."""

import math

import pytest
import torch

from nfvae.flows import make_flow

D = 3


def flow_with(steps=4, hutchinson=None):
    flow = make_flow("ffjord", D, depth=1, hidden=8, steps=steps, hutchinson=hutchinson).double()
    torch.manual_seed(0)
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return flow


def points(count=20):
    return torch.randn(count, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_the_steps_are_those_of_the_classical_method():
    flow, z = flow_with(1).eval(), points(1)[0]
    network, bias = flow.networks[0], flow.given(None)["bias0"]
    f = lambda z, t: network.at(bias, t)(z)  # noqa: E731
    first = f(z, 0.0)
    second = f(z + first / 2, 0.5)
    third = f(z + second / 2, 0.5)
    expected = z + (first + 2 * second + 2 * third + f(z + third, 1.0)) / 6
    torch.testing.assert_close(flow()(z), expected)


def test_the_error_falls_with_the_fourth_power_of_the_steps():
    z = points()
    solution, log_det = flow_with(128).eval()().forward_and_log_det(z)
    errors = []
    for steps in (8, 16):
        y, own = flow_with(steps).eval()().forward_and_log_det(z)
        errors.append(torch.stack([(y - solution).abs().max(), (own - log_det).abs().max()]))
    assert ((errors[0] / errors[1]).log2() > 3.3).all()


def test_training_integrates_the_trace_and_evaluation_is_exact():
    z, differences = points(), []
    for steps in (8, 16):
        flow = flow_with(steps)
        assert not flow.exact
        integrated = flow().forward_and_log_det(z)[1]
        assert flow.eval().exact
        differences.append(float((flow().forward_and_log_det(z)[1] - integrated).detach().abs().max()))
    assert differences[0] < 1e-3
    assert math.log2(differences[0] / differences[1]) > 3.3


@pytest.mark.parametrize("context", [0, 2])
def test_hutchinsons_trace_is_unbiased(context):
    torch.manual_seed(0)
    flow = make_flow("ffjord", D, context=context, depth=1, hidden=8, steps=2, hutchinson=True).double()
    h, z = torch.randn(context).double() if context else None, points(1)[0]
    found = torch.stack([flow(h).forward_and_log_det(z)[1].detach() for _ in range(2_000)])
    flow.hutchinson = False
    error = (found.mean() - flow(h).forward_and_log_det(z)[1].detach()) / (found.std() / math.sqrt(2_000))
    assert found.std() > 0
    assert error.abs() < 4


def test_a_point_does_not_depend_on_its_neighbors():
    flow, z = flow_with().eval(), points()
    far = torch.cat([z[:1], 100 * z[1:]])
    torch.testing.assert_close(flow()(far)[0], flow()(z)[0], rtol=1e-12, atol=1e-12)


def test_the_trace_has_a_gradient():
    flow, exact = flow_with(16), flow_with(16).eval()
    gradients = []
    for each in (flow, exact):
        each().forward_and_log_det(points())[1].sum().backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in each.networks.parameters()]))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-3)
