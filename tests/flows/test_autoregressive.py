"""The autoregressive flows and their univariate maps."""

import pytest
import torch

from nfvae.flows.autoregressive import IAF, InverseAutoregressive
from nfvae.flows.univariate import UNIVARIATES
from nfvae.flows.univariate.affine import Affine
from nfvae.flows.univariate.gate import Gate
from tests.helpers.flows import CONTEXT, random_context, random_flow

every_map = pytest.mark.parametrize("univariate", list(UNIVARIATES))


@pytest.mark.parametrize("context", [0, CONTEXT])
@pytest.mark.parametrize("layer", [0, 1])
def test_iaf_jacobian_is_triangular_in_its_order(context, layer):
    flow = random_flow("iaf:gate", 6, context, depth=2)
    bijection = flow(random_context(context, 1)).parts[layer]
    assert bijection.order == tuple(range(6)) if layer == 0 else tuple(range(6))[::-1]
    points = torch.randn(50, 6, dtype=torch.float64)
    jacobian = torch.stack([torch.autograd.functional.jacobian(lambda z: bijection(z[None])[0], z) for z in points])
    in_order = jacobian[:, list(bijection.order)][:, :, list(bijection.order)]
    assert (in_order.triu(1) == 0).all()
    below = torch.ones(6, 6).tril(-1).bool()
    assert (in_order.abs().sum(0)[below] > 0).all()  # nothing that may be used is masked away
    gates = bijection.conditioner(points).scale
    torch.testing.assert_close(in_order.diagonal(dim1=1, dim2=2), gates[:, list(bijection.order)])


@every_map
def test_maf_is_the_inverse_of_iaf(univariate):
    iaf, maf = (random_flow(f"{name}:{univariate}", 4, CONTEXT, depth=3) for name in ("iaf", "maf"))
    maf.load_state_dict(iaf.state_dict())
    h, z = random_context(CONTEXT, 5), torch.randn(5, 4, dtype=torch.float64)
    torch.testing.assert_close(maf(h).forward_and_log_det(z), iaf(h).inverse_and_log_det(z))
    torch.testing.assert_close(maf(h).inverse_and_log_det(z), iaf(h).forward_and_log_det(z))


def test_iaf_follows_its_formulas():
    z = torch.randn(5, 4, dtype=torch.float64)  # the formulas do not ask for order
    gate = 0.1 + 0.9 / (1 + torch.exp(-(z - 1 + 0.5)))
    layer = InverseAutoregressive(lambda z: Gate(3 * z, z - 1, bias=0.5, floor=0.1), range(4))
    torch.testing.assert_close(layer(z), gate * z + (1 - gate) * 3 * z)
    layer = InverseAutoregressive(lambda z: Affine(3 * z, z - 1, bound=2.0), range(4))
    torch.testing.assert_close(layer(z), torch.exp(2 * torch.tanh((z - 1) / 2)) * z + 3 * z)
    network = lambda z: torch.stack([3 * z, z - 1], -2)  # noqa: E731
    torch.testing.assert_close(
        InverseAutoregressive(lambda z: Affine.from_flat(network(z), bound=2.0), range(4))(z), layer(z)
    )


def test_only_the_affine_map_stretches():
    z, largest = torch.randn(200, 4, dtype=torch.float64), {}
    for univariate in ("gate", "affine"):
        flows = [random_flow(f"iaf:{univariate}", 4) for _ in range(5)]
        largest[univariate] = max(flow().forward_and_log_det(z)[1].max() for flow in flows)
    assert largest["gate"] < 0 < largest["affine"] <= 4 * 3


def test_iaf_context_enters_every_hidden_layer(monkeypatch):
    flow, h, seen = IAF(4, context=CONTEXT, depth=2, hidden=9, hidden_layers=3), torch.randn(1, CONTEXT), []
    for network in flow.networks:
        monkeypatch.setattr(network, "forward", lambda z, biases, weights: seen.append(biases) or torch.zeros(1, 2, 4))
    flow(h)(torch.zeros(1, 4))
    flow(h + 1)(torch.zeros(1, 4))
    assert [len(biases) for biases in seen] == [3] * 4
    for biases, others in zip(seen[:2], seen[2:], strict=True):
        assert [bool((one != two).all()) for one, two in zip(biases, others, strict=True)] == [True] * 3


@every_map
def test_univariate_maps_keep_their_contract(univariate):
    """Increasing, onto, inverted exactly, with the slope that autograd finds."""
    kind = UNIVARIATES.load(univariate)
    flat = 2 * torch.randn(kind.count(), 500, dtype=torch.float64)
    z = (10 * torch.randn(500, dtype=torch.float64)).requires_grad_()
    y, log_slope = kind.from_flat(flat).forward_and_log_slope(z)
    (slope,) = torch.autograd.grad(y.sum(), z)
    assert (slope > 0).all()
    torch.testing.assert_close(log_slope, slope.log())
    back, inverse_log_slope = kind.from_flat(flat).inverse_and_log_slope(y)
    torch.testing.assert_close(back, z)
    torch.testing.assert_close(inverse_log_slope, -log_slope)
