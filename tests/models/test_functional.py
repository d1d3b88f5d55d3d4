"""`torch.func` through models and flows: the same derivatives as autograd."""

import pytest
import torch
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, vmap

from nfvae import elbo
from tests.helpers.flows import ALL, random_flow
from tests.helpers.models import binary, small_vae

DIRECTIONS = ["forward_and_log_det", "inverse_and_log_det"]


def flow_and_points(case):
    return random_flow(case, 3, 4, 2, gain=0.5), torch.randn(5, 4).double(), torch.randn(5, 3).double()


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("case", ALL)
def test_jacobians_and_batches_of_a_flow(case, direction):
    flow, h, z = flow_and_points(case)

    def mapped(point, context):
        return getattr(flow(context), direction)(point)[0]

    expected = torch.autograd.functional.jacobian(lambda point: mapped(point, h[0]), z[0])
    for jacobian in (jacrev, jacfwd):
        torch.testing.assert_close(jacobian(mapped)(z[0], h[0]), expected)
    torch.testing.assert_close(vmap(mapped)(z, h), mapped(z, h))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("case", sorted({*ALL} - {"none", "zuko"}))  # no parameters; zuko reads its own when it maps
def test_gradients_of_a_flow_in_parameters_that_are_put_in_its_place(case, direction):
    flow, h, z = flow_and_points(case)
    parameters = {name: value.detach() * 1.1 for name, value in flow.named_parameters()}

    def loss(parameters, point, context):
        return sum(value.sum() for value in getattr(functional_call(flow, parameters, (context,)), direction)(point))

    found, each = grad(loss)(parameters, z, h), vmap(grad(loss), (None, 0, 0))(parameters, z, h)
    flow.load_state_dict({**flow.state_dict(), **parameters})
    value = sum(value.sum() for value in getattr(flow(h), direction)(z))
    for name, own in flow.named_parameters():
        (expected,) = torch.autograd.grad(value, own, retain_graph=True, materialize_grads=True)
        torch.testing.assert_close(found[name], expected, msg=name)
        torch.testing.assert_close(each[name].sum(0), expected, msg=name)


@pytest.mark.parametrize("case", ["planar", "iaf", "maf"])
def test_gradients_of_a_whole_model(case):
    vae, x = small_vae(case).double(), binary(4).double()
    parameters = {name: value.detach() for name, value in vae.named_parameters()}

    def loss(parameters, image):
        return -elbo(functional_call(vae, parameters, (image[None],)))

    torch.manual_seed(0)
    found = grad(loss)(parameters, x[0])
    torch.manual_seed(0)
    (-elbo(vae(x[:1]))).backward()
    for name, own in vae.named_parameters():
        if own.grad is not None:
            torch.testing.assert_close(found[name], own.grad, msg=name)
    each = vmap(grad(loss), (None, 0), randomness="different")(parameters, x)
    assert all(value.isfinite().all() for value in each.values())


def test_the_hessian_of_a_decoder():
    vae, x = small_vae().double(), binary(1).double()[0]
    z = torch.zeros(3).double()
    expected = torch.autograd.functional.hessian(lambda z: vae.decode(z).log_prob(x), z)
    torch.testing.assert_close(hessian(lambda z: vae.decode(z).log_prob(x))(z), expected)
