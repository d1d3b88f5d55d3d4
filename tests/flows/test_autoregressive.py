"""The autoregressive flows and their univariate maps."""

import pytest
import torch

from nfvae.flows import make_flow
from nfvae.flows.autoregressive import IAF
from nfvae.flows.sequential import _Unrolled, sequential_inverse
from nfvae.flows.univariate import UNIVARIATES
from tests.helpers.flows import CONTEXT, random_context, random_flow
from tests.helpers.sweeps import first

every_map = pytest.mark.parametrize("univariate", list(UNIVARIATES))


@pytest.mark.parametrize("context", [0, CONTEXT])
@pytest.mark.parametrize("layer", [0, 1])
def test_iaf_jacobian_is_triangular_in_its_order(context, layer):
    flow = make_flow("iaf", 6, context, depth=2, hidden=12, activation="tanh").double()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    bijection = flow(random_context(context, 1)).parts[layer]
    order = list(bijection.conditioner.network.order)
    assert order == list(range(6))[:: 1 if layer == 0 else -1]
    points = torch.randn(50, 6, dtype=torch.float64)
    jacobian = torch.stack([torch.autograd.functional.jacobian(lambda z: bijection(z[None])[0], z) for z in points])
    in_order = jacobian[:, order][:, :, order]
    assert (in_order.triu(1) == 0).all()
    below = torch.ones(6, 6).tril(-1).bool()
    assert (in_order.abs().sum(0)[below] > 0).all()  # nothing that may be used is masked away
    gates = bijection.conditioner(points).scale
    torch.testing.assert_close(in_order.diagonal(dim1=1, dim2=2), gates[:, order])


@every_map
def test_maf_is_the_inverse_of_iaf(univariate):
    iaf, maf = (random_flow(f"{name}:univariate={univariate}", 4, CONTEXT, depth=3) for name in ("iaf", "maf"))
    maf.load_state_dict(iaf.state_dict())
    h, z = random_context(CONTEXT, 5), torch.randn(5, 4, dtype=torch.float64)
    torch.testing.assert_close(maf(h).forward_and_log_det(z), iaf(h).inverse_and_log_det(z))
    torch.testing.assert_close(maf(h).inverse_and_log_det(z), iaf(h).forward_and_log_det(z))


def test_iaf_follows_its_formulas():
    """The shift and the scale of every coordinate, from the network's own output."""
    z = torch.randn(5, 4, dtype=torch.float64)
    for univariate, options in (("gate", {"bias": 0.5, "floor": 0.1}), ("affine", {"bound": 2.0})):
        flow = IAF(4, univariate=univariate, univariate_options=options, hidden=9).double()
        for parameter in flow.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        conditioner = flow().parts[0].conditioner
        first, score = conditioner.network(z, conditioner.bias).unflatten(-1, (2, 4)).unbind(-2)
        if univariate == "gate":
            gate = 0.1 + 0.9 / (1 + torch.exp(-(score + 0.5)))
            expected = gate * z + (1 - gate) * first
        else:
            expected = torch.exp(2 * torch.tanh(score / 2)) * z + first
        torch.testing.assert_close(flow()(z), expected)


def test_iaf_context_enters_every_layer_of_the_stack():
    flow, h = IAF(4, context=CONTEXT, depth=2, hidden=9, hidden_layers=3), torch.randn(1, CONTEXT)
    for one, other in zip(flow(h).parts, flow(h + 1).parts, strict=True):
        assert bool((one.conditioner.bias != other.conditioner.bias).all())


def test_every_coordinate_sees_all_before_it_even_in_a_narrow_network():
    """Degrees that are dealt out one after the other leave coordinates unseen where the network is narrow."""
    flow = make_flow("iaf", 40, univariate="affine", hidden=12, activation="tanh").double()
    torch.nn.init.normal_(flow.networks[0].last_weight)
    z = torch.randn(40, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda z: flow()(z[None])[0], z)
    assert (jacobian[-1] != 0).all()


def pass_by_pass(conditioner, y):
    """The inverse as it is commonly written: D full passes, each of which settles one coordinate."""
    z = torch.zeros_like(y)
    for coordinate in conditioner.network.order:
        found, _ = conditioner(z).inverse_and_log_slope(y)
        z = torch.where(torch.arange(y.shape[-1]) == coordinate, found, z)
    return z, conditioner(z).inverse_and_log_slope(y)[1]


@every_map
@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("hidden_layers", first([2, 1, 3]))
@pytest.mark.parametrize("activation", first(["relu", "tanh", "silu"]))
def test_sequential_inverse_and_its_gradients_are_those_of_full_passes(univariate, layer, hidden_layers, activation):
    options = {"univariate": univariate, "hidden": 11, "hidden_layers": hidden_layers, "activation": activation}
    flow, h = make_flow("iaf", 6, CONTEXT, 2, **options).double(), random_context(CONTEXT, 3)
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.6 / (parameter.shape[-1] if parameter.ndim == 2 else 1) ** 0.5)
    y = torch.randn(4, 3, 6, dtype=torch.float64)
    wanted = [h.requires_grad_(), y.requires_grad_(), *flow.parameters()]
    weight, log_weight = torch.randn(2, 4, 3, 6, dtype=torch.float64)
    results = []
    for inverse in (sequential_inverse, pass_by_pass):
        z, log_slope = inverse(flow(h).parts[layer].conditioner, y)
        loss = (weight * z).sum() + (log_weight * log_slope).sum()
        results.append((z, log_slope, torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)))
    torch.testing.assert_close(results[0], results[1])


def test_each_hidden_unit_is_computed_once(monkeypatch):
    """The products of a sequential inverse have no more multiplications than one pass through the network."""
    flow, done = random_flow("iaf", 30), []
    product = _Unrolled.product
    monkeypatch.setattr(
        _Unrolled, "product", lambda self, weight, units: done.append(weight.numel()) or product(self, weight, units)
    )
    flow().parts[0].inverse_and_log_det(torch.randn(2, 30, dtype=torch.float64))
    assert sum(done) <= sum(weight.numel() for weight in flow.networks[0].weights())


def test_inverse_needs_one_pass_where_there_is_one_coordinate():
    flow = random_flow("maf", 1, CONTEXT, 2)
    h, z = random_context(CONTEXT, 4), torch.randn(4, 1, dtype=torch.float64)
    torch.testing.assert_close(flow(h).inv(flow(h)(z)), z)
