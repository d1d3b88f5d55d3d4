"""What is special about a family, and the traps that it has fallen into elsewhere."""

import sys

import pytest
import torch

from nfvae.flows import FLOWS, Chain, DiagonalNormal, FlowDensity, FlowDistribution, Inverse, make_flow
from nfvae.flows.householder import unit_vector
from nfvae.flows.sylvester import VARIANTS, Reflections
from nfvae.numerics import triangular_root
from tests.helpers.flows import CONTEXT, random_context, random_flow

DOUBLE = torch.float64


def orthonormal(columns):
    torch.testing.assert_close(columns.mT @ columns, torch.eye(columns.shape[-1], dtype=columns.dtype))


# Householder


@pytest.mark.parametrize("size", [1e-20, 1e-6, 1e-3, 1.0, 1e6])
def test_a_reflection_is_exact_whatever_the_length_of_its_vector(size):
    """An epsilon inside the norm makes a singular matrix where the vector is as short as its root."""
    v = (size * torch.randn(50, 5, dtype=DOUBLE)).requires_grad_()
    unit = unit_vector(v)
    torch.testing.assert_close(unit.norm(dim=-1), torch.ones(50, dtype=DOUBLE))
    (gradient,) = torch.autograd.grad((unit * torch.randn_like(unit)).sum(), v)
    assert gradient.isfinite().all()


def test_zero_vectors_have_finite_gradients():
    v = torch.zeros(3, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(unit_vector(v).sum(), v)
    assert gradient.isfinite().all()


def test_householder_layers_are_rotations():
    bijection, z = random_flow("householder", 6, CONTEXT, 3)(random_context(CONTEXT, 20)), torch.randn(20, 6).double()
    torch.testing.assert_close(bijection(z).norm(dim=-1), z.norm(dim=-1))
    identity = torch.eye(6, dtype=DOUBLE)
    matrix = random_flow("householder", 6, depth=4)()(identity)
    orthonormal(matrix)
    assert torch.linalg.det(matrix) > 0


# Sylvester


@pytest.mark.parametrize(("reflections", "columns"), [(1, 5), (3, 3), (3, 5), (5, 5)])
def test_frames_are_orthonormal_and_products_of_reflections(reflections, columns):
    vectors = unit_vector(torch.randn(reflections, 5, dtype=DOUBLE))
    product = torch.eye(5, dtype=DOUBLE)
    for v in vectors:
        product = product @ (torch.eye(5, dtype=DOUBLE) - 2 * torch.outer(v, v))
    frame = Reflections(vectors, columns)
    torch.testing.assert_close(frame.out(torch.eye(columns, dtype=DOUBLE)).T, product[:, :columns])
    torch.testing.assert_close(frame.into(torch.eye(5, dtype=DOUBLE)), product[:, :columns])


@pytest.mark.parametrize("variant", VARIANTS)
def test_sylvester_is_invertible_however_large_its_parameters(variant):
    """Without r r~ > -1 the map folds."""
    flow = make_flow("sylvester", 5, depth=1, variant=variant, size=3).double()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=4)
    layer, z = flow().parts[0], 3 * torch.randn(2000, 5, dtype=DOUBLE)
    assert (layer.slope > -1).all()
    torch.testing.assert_close(layer.inv(layer(z)), z, rtol=1e-5, atol=1e-5)


def test_sylvester_moves_along_its_frame_alone():
    flow = make_flow("sylvester", 6, variant="orthogonal", size=2).double()
    torch.nn.init.normal_(flow.head.bias)
    z = torch.randn(100, 6, dtype=DOUBLE)
    assert torch.linalg.matrix_rank(flow()(z) - z) == 2


def test_triangular_sylvester_reverses_every_second_layer():
    layers = make_flow("sylvester", 4, depth=4, variant="triangular")().parts
    assert [layer.frame.reverse for layer in layers] == [False, True, False, True]


# linear


def test_linear_makes_a_gaussian_with_full_covariance():
    flow = random_flow("linear:permutation=random", 4)
    y, zero = torch.randn(7, 4, dtype=DOUBLE), torch.zeros(4, dtype=DOUBLE)
    shift = flow()(zero)
    matrix = (flow()(torch.eye(4, dtype=DOUBLE)) - shift).T
    expected = torch.distributions.MultivariateNormal(shift, matrix @ matrix.T).log_prob(y)
    torch.testing.assert_close(FlowDistribution(DiagonalNormal(zero, zero + 1), flow()).log_prob(y), expected)


# activation normalization


@pytest.mark.parametrize("direction", ["forward_and_log_det", "inverse_and_log_det"])
@pytest.mark.parametrize("context", [0, CONTEXT])
def test_data_start_activation_normalization_once(direction, context):
    flow, h = make_flow("actnorm", 3, context, 2, start="data").double(), random_context(context, 500)
    points = torch.tensor([1.0, 5.0, 0.1], dtype=DOUBLE) * torch.randn(500, 3, dtype=DOUBLE) + 7
    flow.eval()
    getattr(flow(h), direction)(points)
    assert not flow.started
    flow.train()
    mapped, log_det = getattr(flow(h), direction)(points)
    assert flow.started
    torch.testing.assert_close(mapped.mean(0), torch.zeros(3, dtype=DOUBLE), rtol=0, atol=1e-6)
    torch.testing.assert_close(mapped.var(0, correction=0), torch.ones(3, dtype=DOUBLE))
    expected = -points.std(0, correction=0).log().sum()
    torch.testing.assert_close(log_det, expected.expand(500))
    before = {name: value.clone() for name, value in flow.state_dict().items()}
    getattr(flow(h), direction)(3 * points - 1)
    torch.testing.assert_close(dict(flow.state_dict()), before)


def test_a_reloaded_activation_normalization_does_not_start_again():
    flow = make_flow("actnorm", 3, start="data")
    flow()(torch.randn(50, 3))
    twin = make_flow("actnorm", 3, start="data")
    twin.load_state_dict(flow.state_dict())
    z = 100 + torch.randn(50, 3)
    torch.testing.assert_close(twin()(z), flow()(z), rtol=0, atol=0)


def test_glow_starts_from_data_step_by_step():
    flow = make_flow("glow", 4, depth=3, hidden=8, start="data")
    flow().inv(50 + 9 * torch.randn(200, 4))
    assert all(norm.started for norm in flow.norms)
    assert make_flow("glow", 4, depth=3, hidden=8).norms[0].started


# couplings


@pytest.mark.parametrize("mask", ["halves", "alternating", "random"])
def test_two_couplings_move_every_coordinate_and_one_moves_half(mask):
    flow = make_flow("nice", 7, depth=2, hidden=8, mask=mask)
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter)
    z = torch.randn(10, 7)
    moved = [((layer(z) - z).abs() > 1e-6).any(0) for layer in flow().parts]
    assert (moved[0] != moved[1]).all()
    assert {int(moved[0].sum()), int(moved[1].sum())} == {3, 4}


def test_a_random_mask_is_the_same_in_every_process():
    flows = [make_flow("nice", 9, depth=4, hidden=8, mask="random") for _ in range(2)]
    for name, indices in flows[0].named_buffers():
        assert torch.equal(indices, dict(flows[1].named_buffers())[name])
    assert not torch.equal(flows[0].moved0, flows[0].moved2)


def test_nice_keeps_volumes():
    assert (random_flow("nice", 5, depth=3)().forward_and_log_det(torch.randn(20, 5).double())[1] == 0).all()


# block networks


def test_bnaf_is_triangular_and_reaches_everything():
    """With tanh alone, outputs stay in an interval, and the density does not integrate to one."""
    flow = random_flow("bnaf", 4)
    jacobian = torch.autograd.functional.jacobian(lambda z: flow()(z), torch.randn(4, dtype=DOUBLE))
    assert (jacobian.triu(1) == 0).all()
    assert (jacobian.diagonal() > 0).all()
    far = torch.tensor([-1e8, 1e8], dtype=DOUBLE)[:, None].expand(2, 4)
    layer = flow().parts[0]
    layer.gate = torch.ones_like(layer.gate)  # the network alone
    y = layer(far)
    assert (y[0] < -1e3).all()
    assert (y[1] > 1e3).all()


def test_triangular_root_is_found_where_steps_on_each_slope_run_away():
    """Slopes from 0.01 to 100 within one unit, each coordinate pushed far by those before it."""
    below = 30 * torch.randn(6, 6, dtype=DOUBLE).tril(-1)
    target = 20 * torch.randn(200, 6, dtype=DOUBLE)

    def excess(s):
        t = torch.tanh(50 * s)
        return 0.01 * s + 2 * t + torch.sin(s) @ below.T - target, 0.01 + 100 * (1 - t.square())

    root = triangular_root(excess, lambda s: None, torch.zeros_like(target), upper=False)
    assert excess(root)[0].abs().max() < 1e-6  # of values up to 200, slopes up to 100


# chains


def test_a_chain_applies_its_parts_in_order():
    parts = [{"flow": "planar", "depth": 2}, {"flow": "maf", "flow_options": {"hidden": 8}}]
    chain, h, z = make_flow("chain", 3, CONTEXT, depth=3, parts=parts), torch.randn(5, CONTEXT), torch.randn(5, 3)
    planar, maf = chain.flows
    assert (planar.depth, maf.depth) == (2, 3)
    torch.testing.assert_close(chain(h)(z), maf(h)(planar(h)(z)))
    assert len(chain(h).parts) == 5
    assert isinstance(chain(h).parts[-1], Inverse)


def test_chains_dissolve_in_chains():
    planar = make_flow("planar", 2, depth=2)
    assert len(Chain([planar(), Chain([planar(), planar()])]).parts) == 6


@pytest.mark.parametrize("sizes", [[], [2, 3]])
def test_a_chain_takes_bijections_of_one_size(sizes):
    with pytest.raises(ValueError, match=r"a chain takes bijections of one size, at least one; got sizes"):
        Chain([make_flow("planar", size)() for size in sizes])


# zuko


@pytest.mark.parametrize(
    ("transform", "options"),
    [
        ("NSF", {"hidden_features": [8], "bins": 4}),
        ("RealNVP", {"hidden_features": [8]}),
        ("SOSPF", {"hidden_features": [8]}),
        ("MaskedAutoregressiveTransform", {"hidden_features": [8]}),
        ("GeneralCouplingTransform", {"hidden_features": [8]}),
        ("ElementWiseTransform", {}),
        ("zuko.flows:MaskedAutoregressiveTransform", {"passes": 2, "hidden_features": [8]}),
    ],
)
@pytest.mark.parametrize("context", [0, CONTEXT])
def test_transforms_of_zuko_are_flows(transform, options, context):
    flow = make_flow("zuko", 4, context, 2, transform=transform, transform_options=options).double()
    bijection, z = flow(random_context(context, 6)), torch.randn(3, 6, 4, dtype=DOUBLE)
    y, log_det = bijection.forward_and_log_det(z)
    back, inverse_log_det = bijection.inverse_and_log_det(y)
    torch.testing.assert_close(back, z, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(inverse_log_det, -log_det, rtol=1e-4, atol=1e-4)


def test_without_zuko_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "zuko", None)
    monkeypatch.delitem(sys.modules, "nfvae.flows.zuko", raising=False)
    with pytest.raises(ValueError, match=r"zuko is not installed; install it with pip install nfvae\[zuko\]"):
        make_flow("zuko", 3)


# all


@pytest.mark.parametrize("name", FLOWS)
def test_every_flow_learns_a_shifted_density(name):
    """Maximum likelihood through the inverse for a few steps: the gradient points where it should."""
    flow = random_flow(name, 2, depth=2, gain=0.3, dtype=torch.float32)
    density = FlowDensity(flow)
    data = torch.randn(200, 2) @ torch.tensor([[1.0, 0.6], [0.0, 0.5]]) + 1
    optimizer = torch.optim.Adam(density.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        loss = -density().log_prob(data).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.3


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e4, 1e5])
@pytest.mark.parametrize("direction", ["forward_and_log_det", "inverse_and_log_det"])
def test_actnorm_starts_from_float32_data_far_from_zero(offset, direction):
    flow = make_flow("actnorm", 2, start="data")
    points, _ = getattr(flow(), direction)(torch.randn(1000, 2) + offset)
    torch.testing.assert_close(points.std(0, correction=0), torch.ones(2), atol=0.02, rtol=0)
    torch.testing.assert_close(points.mean(0), torch.zeros(2), atol=0.02, rtol=0)


def test_actnorm_that_starts_from_one_point_shifts_alone():
    flow = make_flow("actnorm", 2, start="data")
    points, log_det = flow().forward_and_log_det(torch.tensor([[3.0, -5.0]]))
    torch.testing.assert_close(points, torch.zeros(1, 2))
    torch.testing.assert_close(log_det, torch.zeros(1))
