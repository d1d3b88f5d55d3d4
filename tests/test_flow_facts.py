"""What is special about each flow, and what makes a density a density."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nfvae.bijections import Bijection
from nfvae.distributions import DiagonalNormal, FlowDistribution
from nfvae.flows import FLOWS, Flow, IAFFlow, ParametricFlow, make_flow
from nfvae.flows.cholesky import LowerTriangularAffine
from nfvae.flows.iaf import InverseAutoregressive
from nfvae.flows.planar import Planar
from nfvae.flows.radial import Radial
from nfvae.numerics import FLOOR, log_mean_exp, monotone_root, shifted_softplus
from nfvae.prior import StandardNormal
from tests.flows_under_test import ALL, CONTEXT, random_context, random_flow

HARD = 10_000


def hard_vectors(count, features):
    """Directions at random, lengths from 1e-6 to 1e4."""
    return torch.randn(count, features) * 10 ** torch.empty(count, 1).uniform_(-6, 4)


def test_planar_is_invertible_for_hard_draws():
    w, u, b = hard_vectors(HARD, 7), hard_vectors(HARD, 7), 100 * torch.randn(HARD)
    u[: HARD // 2] = -w[: HARD // 2] * torch.rand(HARD // 2, 1)  # pointing straight against w
    planar = Planar.from_unconstrained(u=u.double(), w=w.double(), b=b.double())
    product = (planar.w * planar.u).sum(-1)
    assert (planar.slope > -1).all()
    long = planar.w.norm(dim=-1) * planar.u.norm(dim=-1) < 1e6  # beyond, the product itself is rounded away
    assert long.float().mean() > 0.5
    assert (product[long] > -1).all()
    torch.testing.assert_close(product[long], planar.slope[long], rtol=1e-6, atol=1e-6)
    single = Planar.from_unconstrained(u=u, w=w, b=b)
    assert (single.slope > -1).all()
    assert single.u.isfinite().all()


def test_planar_does_nothing_where_u_is_zero_and_leaves_a_valid_u_direction_alone():
    w = torch.randn(5, dtype=torch.float64)
    across = torch.randn(5, dtype=torch.float64)
    across -= (across @ w) / (w @ w) * w
    none, bias = torch.zeros(5, dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64)
    zero = Planar.from_unconstrained(u=none, w=w, b=bias)
    torch.testing.assert_close(zero.u, none)
    torch.testing.assert_close(Planar.from_unconstrained(u=across, w=w, b=bias).u, across)


def test_radial_is_monotone_along_every_ray():
    center, reach, far = (torch.randn(HARD, *rest, dtype=torch.float64) for rest in ((3,), (), ()))
    radial = Radial.from_unconstrained(center=center, alpha=20 * reach, alpha_beta=20 * far)
    assert (radial.alpha > 0).all()
    assert (radial.alpha_beta > 0).all()
    ray = torch.nn.functional.normalize(torch.randn(HARD, 3, dtype=torch.float64), dim=-1)
    radii = torch.logspace(-6, 4, 200, dtype=torch.float64)[:, None, None]
    reached = ((radial(center + radii * ray) - center) * ray).sum(-1)
    assert (reached.diff(dim=0) > 0).all()


@pytest.mark.parametrize("context", [0, CONTEXT])
@pytest.mark.parametrize("layer", [0, 1])
def test_iaf_jacobian_is_triangular_in_its_order(context, layer):
    flow = random_flow("iaf", 6, context, depth=2)
    bijection = flow(random_context(context, 1)).parts[layer]
    assert bijection.order == tuple(range(6)) if layer == 0 else tuple(range(6))[::-1]
    points = torch.randn(50, 6, dtype=torch.float64)
    jacobian = torch.stack([torch.autograd.functional.jacobian(lambda z: bijection(z[None])[0], z) for z in points])
    in_order = jacobian[:, list(bijection.order)][:, :, list(bijection.order)]
    assert (in_order.triu(1) == 0).all()
    below = torch.ones(6, 6).tril(-1).bool()
    assert (in_order.abs().sum(0)[below] > 0).all()  # nothing that may be used is masked away
    gates = torch.sigmoid(bijection.network(points)[:, 1] + 2) * (1 - 1e-3) + 1e-3
    torch.testing.assert_close(in_order.diagonal(dim1=1, dim2=2), gates[:, list(bijection.order)])


@pytest.mark.parametrize("scale", ["gate", "exp"])
def test_maf_is_the_inverse_of_iaf(scale):
    iaf, maf = (random_flow(name, 4, CONTEXT, depth=3) for name in ("iaf", "maf"))
    maf.load_state_dict(iaf.state_dict())
    for flow in (iaf, maf):
        flow.scaling["scale"] = scale
    h, z = random_context(CONTEXT, 5), torch.randn(5, 4, dtype=torch.float64)
    torch.testing.assert_close(maf(h).forward_and_log_det(z), iaf(h).inverse_and_log_det(z))
    torch.testing.assert_close(maf(h).inverse_and_log_det(z), iaf(h).forward_and_log_det(z))


def test_iaf_follows_its_formulas():
    def network(z):
        return torch.stack([3 * z, z - 1], -2)  # the formulas do not ask for order

    z = torch.randn(5, 4, dtype=torch.float64)
    gate = 0.1 + 0.9 / (1 + torch.exp(-(z - 1 + 0.5)))
    layer = InverseAutoregressive(network, range(4), gate_bias=0.5, gate_floor=0.1)
    torch.testing.assert_close(layer(z), gate * z + (1 - gate) * 3 * z)
    layer = InverseAutoregressive(network, range(4), scale="exp")
    torch.testing.assert_close(layer(z), torch.exp(3 * torch.tanh((z - 1) / 3)) * z + 3 * z)


def test_only_the_exponential_scale_stretches():
    z, flows = torch.randn(200, 4, dtype=torch.float64), [random_flow("iaf", 4) for _ in range(5)]
    largest = {}
    for scale in ("gate", "exp"):
        for flow in flows:
            flow.scaling["scale"] = scale
        largest[scale] = max(flow().forward_and_log_det(z)[1].max() for flow in flows)
    assert largest["gate"] < 0 < largest["exp"] <= 4 * 3


def test_iaf_context_enters_every_hidden_layer():
    flow = IAFFlow(4, context=CONTEXT, depth=2, hidden=9, hidden_layers=3)
    h = torch.randn(1, CONTEXT)
    for bijection, other in zip(flow(h).parts, flow(h + 1).parts, strict=True):
        biases = zip(bijection.network.keywords["biases"], other.network.keywords["biases"], strict=True)
        assert [bool((one != two).all()) for one, two in biases] == [True] * 3


def test_cholesky_makes_a_gaussian_with_full_covariance():
    flow = random_flow("cholesky", 4)
    bijection = flow().parts[0]
    standard = StandardNormal(4).double()
    y = torch.randn(7, 4, dtype=torch.float64)
    expected = torch.distributions.MultivariateNormal(bijection.shift, scale_tril=bijection.matrix).log_prob(y)
    torch.testing.assert_close(FlowDistribution(standard(), flow()).log_prob(y), expected)
    assert (bijection.matrix.tril(-1) != 0).sum() == 6


def test_one_linear_head_gives_the_parameters_of_a_whole_stack():
    for name in ("planar", "radial", "cholesky"):
        flow = make_flow(name, 4, CONTEXT, depth=6)
        assert [key for key, _ in flow.named_parameters()] == ["head.bias", "head.weight"]
    assert sum(key.startswith("head") for key, _ in make_flow("iaf", 4, CONTEXT, depth=6).named_parameters()) == 2


class SquashedPlanar(Planar):
    """The planar map as several libraries have it: û left out, so many points share an image."""

    @staticmethod
    def constrain(u, w, b):
        return {"u": u, "w": w, "b": b, "slope": (w * u).sum(-1)}

    def _log_det(self, t):
        return (1 + self.slope * (1 - t.square())).abs().log()


def mean_weight(bijection, features, samples=400_000):
    """E_q[p/q] for a narrow normalised p, with its standard error, from forward passes alone."""
    zeros = torch.zeros(features, dtype=torch.float64)
    wide = DiagonalNormal(zeros, zeros + 2)
    z, log_q = FlowDistribution(wide, bijection).rsample_and_log_prob((samples,))
    centre = bijection(torch.zeros(features, dtype=torch.float64)).detach()
    weights = (DiagonalNormal(centre, zeros + 0.7).log_prob(z) - log_q).exp()
    return weights.mean().item(), (weights.std() / samples**0.5).item()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("features", [1, 2, 3])
def test_weights_average_to_one(name, features):
    """E_q[p/q] = 1 for any normalised p: a flow that maps two points onto one counts p twice."""
    with torch.no_grad():
        mean, error = mean_weight(random_flow(name, features, depth=2, gain=0.6)(), features)
    assert error < 0.02
    assert abs(mean - 1) < 4 * error


def test_weights_of_a_flow_that_is_not_invertible_do_not_average_to_one():
    u, w = torch.tensor([-3.0, 0.5], dtype=torch.float64), torch.tensor([1.5, 0.2], dtype=torch.float64)
    b = torch.zeros((), dtype=torch.float64)
    mean, error = mean_weight(SquashedPlanar.from_unconstrained(u=u, w=w, b=b), 2)
    assert mean - 1 > 20 * error
    mean, error = mean_weight(Planar.from_unconstrained(u=u, w=w, b=b), 2)
    assert abs(mean - 1) < 4 * error


@settings(deadline=None, max_examples=200)
@given(
    slope=st.floats(FLOOR - 1, 1e4),
    shift=st.floats(-1e3, 1e3),
    root=st.floats(-1e3, 1e3),
)
def test_monotone_root_finds_planar_roots(slope, shift, root):
    slope, shift, root = (torch.tensor(value, dtype=torch.float64) for value in (slope, shift, root))
    target = root + slope * torch.tanh(root + shift)

    def excess(a):
        t = torch.tanh(a + shift)
        return a + slope * t - target, 1 + slope * (1 - t.square())

    found = monotone_root(excess, target - slope.abs(), target + slope.abs())
    # a rounding error of the target moves the root by up to 1/f'
    torch.testing.assert_close(found, root, rtol=1e-10, atol=1e-11 * (1 + slope.abs().item()) / FLOOR)


def test_shifted_softplus_has_its_floor_and_its_one():
    a = torch.linspace(-200, 200, 4001, dtype=torch.float64)
    value = shifted_softplus(a)
    assert shifted_softplus(torch.zeros((), dtype=torch.float64)).item() == pytest.approx(1.0, abs=1e-15)
    assert (value >= FLOOR).all()
    assert (value.diff() >= 0).all()
    assert (shifted_softplus(a.float()) > 0).all()


def test_log_mean_exp_does_not_overflow():
    x = torch.tensor([[1000.0, -1000.0], [1000.0, -1000.0]])
    torch.testing.assert_close(log_mean_exp(x, 0), torch.tensor([1000.0, -1000.0]))
    torch.testing.assert_close(log_mean_exp(torch.tensor([0.0, 3.0]).log()), torch.tensor(1.5).log())


class Stretch(Bijection):
    def __init__(self, log_scale):
        super().__init__()
        self.log_scale = log_scale

    def forward_and_log_det(self, z):
        return z * self.log_scale.exp(), self.log_scale.sum(-1).expand(z.shape[:-1])

    def inverse_and_log_det(self, y):
        return y * (-self.log_scale).exp(), -self.log_scale.sum(-1).expand(y.shape[:-1])


class StretchFlow(ParametricFlow):
    """A user's own flow, outside the package."""

    bijection = Stretch

    @staticmethod
    def shapes(features):
        return {"log_scale": (features,)}


def test_a_flow_of_ones_own_works_by_its_path():
    path = f"{__name__}:StretchFlow"
    assert path not in FLOWS
    flow = make_flow(path, features=3, context=2, depth=4)
    y, log_det = flow(torch.zeros(5, 2)).forward_and_log_det(torch.ones(5, 3))
    torch.testing.assert_close(y.log().sum(-1), log_det)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("plannar", {}, "unknown flow 'plannar'; known flows: cholesky, iaf, maf, none, planar, radial"),
        ("iaf", {"hiden": 3}, "unknown option 'hiden' of flow 'iaf'; known options: hidden, hidden_layers"),
        ("planar", {"hidden": 3}, "unknown option 'hidden' of flow 'planar'; known options: none"),
        ("iaf", {"gate_floor": 1.0}, r"gate_floor must be in \[0, 1\); got 1.0"),
        ("iaf", {"activation": "rleu"}, "unknown activation 'rleu'; known activations: elu"),
        ("iaf", {"hidden_layers": 0}, "hidden widths must be positive"),
        ("maf", {"scale": "log"}, "unknown scale 'log'; known scales: gate, exp"),
        ("no.such.module:Flow", {}, "cannot import flow 'no.such.module:Flow'"),
        ("nfvae.flows:Nothing", {}, "cannot import flow 'nfvae.flows:Nothing'"),
        ("torch.nn:Linear", {}, "'torch.nn:Linear' is not a subclass of nfvae.flows.Flow"),
    ],
)
def test_mistakes_are_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        make_flow(name, 4, **options)


def test_flow_is_abstract():
    with pytest.raises(TypeError):
        Flow(2)


def test_lower_triangular_affine_broadcasts_samples_without_copying_the_matrix():
    flow = make_flow("cholesky", 6, CONTEXT)
    bijection = flow(torch.randn(4, CONTEXT)).parts[0]
    assert isinstance(bijection, LowerTriangularAffine)
    z = torch.randn(50, 4, 6)
    expected = (bijection.matrix @ z.unsqueeze(-1)).squeeze(-1) + bijection.shift
    torch.testing.assert_close(bijection(z), expected)
