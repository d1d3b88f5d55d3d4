"""The contract: what holds for every registered flow, alone and chained, global and amortized."""

import copy
import itertools
import math
import re

import pytest
import torch
from torch.distributions import TransformedDistribution
from torch.func import functional_call, vmap

from nfvae.flows import Bijection, Chain, DiagonalNormal, FlowDistribution, Inverse, ParametricFlow
from nfvae.models.priors.normal import StandardNormal
from tests.helpers.flows import (
    ALL,
    CASES,
    CONTEXT,
    EACH_CHOICE,
    FEW,
    VARIED,
    has_parameters,
    random_context,
    random_flow,
    small_flow,
    swept,
)
from tests.helpers.sweeps import first, sweep

BATCH = 6
GRID = [
    *itertools.product(ALL, [0, CONTEXT], [1, 3], [1, 2, 5]),
    *((name, *sizes) for name in VARIED for sizes in [(0, 1, 1), (CONTEXT, 3, 5)]),
]


def is_quick(name, context, depth, features):
    """Whether the quick suite tries a point of the grid: each flow in one size, some of them for one coordinate too."""
    if name in FEW and (context, depth, features) == (CONTEXT, 1, 1):
        return True
    return name in [*ALL, *EACH_CHOICE] and (depth, features) == (3, 5)


on_the_grid = pytest.mark.parametrize(("name", "context", "depth", "features"), sweep(GRID, is_quick))
every_flow = pytest.mark.parametrize("name", swept(CASES))
every_context = pytest.mark.parametrize(
    ("name", "context"), swept([*itertools.product(ALL, [0, CONTEXT]), *itertools.product(VARIED, [CONTEXT])])
)


def jacobians(function, points):
    return torch.stack([torch.autograd.functional.jacobian(function(i), point) for i, point in enumerate(points)])


def base(features, dtype=torch.float64):
    zeros = torch.zeros(BATCH, features, dtype=dtype)
    return DiagonalNormal(zeros, zeros + 1)


@on_the_grid
class TestBothDirections:
    @pytest.fixture
    def case(self, name, context, depth, features):
        flow, h = random_flow(name, features, context, depth), random_context(context, BATCH)
        return flow, h, flow(h), 2 * torch.randn(BATCH, features, dtype=torch.float64)

    def test_round_trip(self, case):
        _, _, bijection, z = case
        y, log_det = bijection.forward_and_log_det(z)
        back, inverse_log_det = bijection.inverse_and_log_det(y)
        torch.testing.assert_close(back, z, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(inverse_log_det, -log_det, rtol=1e-6, atol=1e-6)

    def test_log_det_is_that_of_the_jacobian(self, case):
        flow, h, bijection, z = case
        one = [flow(None if h is None else h[i]) for i in range(BATCH)]
        expected = torch.linalg.slogdet(jacobians(lambda i: one[i], z))
        _, log_det = bijection.forward_and_log_det(z)
        assert (expected.sign == expected.sign[0]).all()  # a permutation may turn space inside out, nothing may fold it
        torch.testing.assert_close(log_det, expected.logabsdet, rtol=1e-8, atol=1e-8)

    def test_log_det_of_the_inverse_is_that_of_its_jacobian(self, case):
        flow, h, bijection, z = case
        y = bijection(z)
        one = [flow(None if h is None else h[i]).inv for i in range(BATCH)]
        expected = torch.linalg.slogdet(jacobians(lambda i: one[i], y)).logabsdet
        torch.testing.assert_close(bijection.inverse_and_log_det(y)[1], expected, rtol=1e-6, atol=1e-6)

    def test_inverse_swaps_the_directions(self, case):
        _, _, bijection, z = case
        swapped = Inverse(bijection)
        torch.testing.assert_close(swapped.inverse_and_log_det(z), bijection.forward_and_log_det(z))
        torch.testing.assert_close(swapped.forward_and_log_det(z), bijection.inverse_and_log_det(z))

    def test_agrees_with_transformed_distribution(self, case, features):
        _, _, bijection, z = case
        ours = FlowDistribution(base(features), bijection)
        theirs = TransformedDistribution(base(features), [bijection], validate_args=False)
        y = bijection(z)
        torch.testing.assert_close(ours.log_prob(y), theirs.log_prob(y), rtol=1e-6, atol=1e-6)

    def test_density_of_a_draw_is_the_density_at_that_point(self, case, features):
        _, _, bijection, _ = case
        q = FlowDistribution(base(features), bijection)
        z, log_q = q.draw((4,))[:2]
        torch.testing.assert_close(log_q, q.log_prob(z), rtol=1e-6, atol=1e-6)

    def test_samples_share_what_depends_on_the_image(self, case):
        _, _, bijection, z = case
        many = torch.stack([z, z + 1, z - 1])
        together = bijection.forward_and_log_det(many)
        for k in range(3):
            torch.testing.assert_close((together[0][k], together[1][k]), bijection.forward_and_log_det(many[k]))
        torch.testing.assert_close(bijection.inv(together[0]), many, rtol=1e-6, atol=1e-6)

    def test_an_image_does_not_depend_on_its_neighbours(self, case):
        flow, h, bijection, z = case
        alone = flow(None if h is None else h[:1])
        torch.testing.assert_close(alone(z[:1]), bijection(z)[:1])
        torch.testing.assert_close(alone.inv(z[:1]), bijection.inv(z)[:1])


@every_context
def test_gradients_through_the_inverse_are_right(name, context):
    flow, h = random_flow(name, 3, context, depth=2, gain=0.7), random_context(context, 2)
    names, values = zip(*flow.named_parameters(), strict=True) if has_parameters(name) else ((), ())
    y = flow(h)(torch.randn(2, 3, dtype=torch.float64)).detach().requires_grad_()

    def inverse(y, *parameters):
        return functional_call(flow, dict(zip(names, parameters, strict=True)), (h,)).inverse_and_log_det(y)

    assert torch.autograd.gradcheck(lambda y: inverse(y, *values), y, atol=1e-5, rtol=1e-4)
    assert torch.autograd.gradcheck(inverse, (y, *values), atol=1e-5, rtol=1e-4, fast_mode=True)


@every_flow
@pytest.mark.parametrize("direction", ["forward_and_log_det", "inverse_and_log_det"])
def test_second_derivatives_are_right_or_refused(name, direction):
    flow, step = random_flow(name, 3, 0, 2), 1e-5
    bijection = flow(None)
    z, way = torch.randn(4, 3, dtype=torch.float64, requires_grad=True), torch.randn(4, 3, dtype=torch.float64)

    def gradient(points, create_graph=False):
        y, log_det = getattr(bijection, direction)(points)
        value = y.sin().sum() + log_det.square().sum() + log_det.sum()
        return torch.autograd.grad(value, points, create_graph=create_graph)[0]

    try:
        (found,) = torch.autograd.grad((gradient(z, True) * way).sum(), z)
    except NotImplementedError:
        refusing = "forward" if flow.sequential == "forward" else "inverse"
        assert direction.startswith(refusing), "the other direction is a plain formula"
        return
    expected = (gradient(z + step * way) - gradient(z - step * way)) / (2 * step)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@every_flow
@pytest.mark.parametrize("direction", ["forward_and_log_det", "inverse_and_log_det"])
def test_an_empty_batch_is_mapped_to_one(name, direction):
    if name.startswith("zuko"):
        pytest.skip("zuko takes none")
    y, log_det = getattr(random_flow(name, 3, 0, 2)(None), direction)(torch.zeros(0, 3, dtype=torch.float64))
    assert y.shape == (0, 3)
    assert log_det.shape == (0,)


@every_context
@pytest.mark.parametrize("direction", ["forward_and_log_det", "inverse_and_log_det"])
def test_every_parameter_and_the_context_receive_a_gradient(name, context, direction):
    flow, h = random_flow(name, 3, context, depth=2), random_context(context, BATCH)
    if context:
        h.requires_grad_()
    y, log_det = getattr(flow(h), direction)(torch.randn(BATCH, 3, dtype=torch.float64))
    if not has_parameters(name):
        assert not y.requires_grad
        return
    (y.square().sum() + log_det.sum()).backward()
    for key, parameter in flow.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().max() > 0, key
    if context:
        assert (h.grad.abs().sum(-1) > 0).all()


INTEGRATED = [*itertools.product(ALL, [1, 2]), *((name, 1) for name in VARIED if "univariate" in name)]


@pytest.mark.parametrize(("name", "features"), sweep(INTEGRATED, lambda name, features: name in ALL and features == 1))
def test_density_integrates_to_one(name, features):
    flow = random_flow(name, features, depth=2, gain=0.6)
    axis = torch.linspace(-15, 15, 301 if features == 2 else 10001, dtype=torch.float64)
    grid = torch.cartesian_prod(*[axis] * features).reshape(-1, features)
    standard = StandardNormal(features).double()
    density = FlowDistribution(standard(), flow()).log_prob(grid).exp()
    torch.testing.assert_close((density.sum() * (axis[1] - axis[0]) ** features).item(), 1.0, rtol=2e-3, atol=0)


@every_context
@pytest.mark.parametrize("size", first([1e4, 1.0, 1e-6]))
@pytest.mark.parametrize("direction", ["forward_and_log_det", "inverse_and_log_det"])
def test_float32_stays_finite_at_extreme_inputs(name, context, size, direction):
    sequential = small_flow(name, 1).sequential or "inverse"  # there the output runs through the layer again
    gain = 0.3 if direction.startswith(sequential) else 10.0
    flow = random_flow(name, 40, context, depth=3, gain=gain, dtype=torch.float32)
    z = (size * torch.randn(BATCH, 40)).requires_grad_()
    y, log_det = getattr(flow(random_context(context, BATCH, torch.float32)), direction)(z)
    assert y.isfinite().all()
    assert log_det.isfinite().all()
    gradients = torch.autograd.grad(y.sum() + log_det.sum(), [z, *flow.parameters()], allow_unused=True)
    assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)


@every_context
def test_zero_parameters_and_zero_input_have_finite_gradients(name, context):
    flow = random_flow(name, 4, context, depth=2, gain=0.0, dtype=torch.float32)
    z = torch.zeros(2, 4, requires_grad=True)
    bijection = flow(None if not context else torch.zeros(2, context))
    for direction in (bijection.forward_and_log_det, bijection.inverse_and_log_det):
        y, log_det = direction(z)
        gradients = torch.autograd.grad(
            y.sum() + log_det.sum(), [z, *flow.parameters()], allow_unused=True, retain_graph=True
        )
        assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)


@every_flow
def test_float32_agrees_with_float64(name):
    flow = random_flow(name, 5, CONTEXT, depth=3)
    h, z = random_context(CONTEXT, BATCH), torch.randn(BATCH, 5, dtype=torch.float64)
    expected, expected_log_det = flow(h).forward_and_log_det(z)
    got, log_det = copy.deepcopy(flow).float()(None if h is None else h.float()).forward_and_log_det(z.float())
    torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(log_det.double(), expected_log_det, rtol=1e-4, atol=1e-4)


@every_context
@pytest.mark.parametrize("depth", first([3, 1]))
def test_float32_round_trip(name, context, depth):
    flow = random_flow(name, 5, context, depth, gain=0.5, dtype=torch.float32)
    bijection, z = flow(random_context(context, BATCH, torch.float32)), torch.randn(BATCH, 5)
    y, log_det = bijection.forward_and_log_det(z)
    back, inverse_log_det = bijection.inverse_and_log_det(y)
    torch.testing.assert_close(back, z, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(inverse_log_det, -log_det, rtol=1e-3, atol=1e-3)


@every_context
def test_starts_near_the_identity(name, context):
    if "permutation" in name:
        pytest.skip("moves every coordinate")
    flow = small_flow(name, 40, context, depth=1)
    z = torch.randn(500, 40)
    y, log_det = flow(random_context(context, 500, torch.float32)).forward_and_log_det(z)
    assert (y - z).square().mean().sqrt() < 0.35
    assert log_det.abs().mean() / 40 < 0.15


@every_context
def test_state_dict_restores_the_same_map(name, context):
    flow, twin = (random_flow(name, 4, context, depth=2) for _ in range(2))
    twin.load_state_dict(flow.state_dict())
    h, z = random_context(context, 3), torch.randn(3, 4, dtype=torch.float64)
    torch.testing.assert_close(twin(h)(z), flow(h)(z), rtol=0, atol=0)


@every_flow
def test_a_context_of_the_wrong_size_is_refused(name):
    flow = small_flow(name, 4, CONTEXT)
    with pytest.raises(ValueError, match=r"expected a context with shape \(\*, 3\); got none"):
        flow(None)
    for h in (torch.zeros(5, 2), torch.tensor(1.0)):
        with pytest.raises(
            ValueError, match=rf"expected a context with shape \(\*, 3\); got {re.escape(str(tuple(h.shape)))}"
        ):
            flow(h)


WRONG = {
    "forward": lambda bijection, points: bijection.forward_and_log_det(points),
    "inverse": lambda bijection, points: bijection.inverse_and_log_det(points),
    "call": lambda bijection, points: bijection(points),
    "inv": lambda bijection, points: bijection.inv(points),
    "log_abs_det_jacobian": lambda bijection, points: bijection.log_abs_det_jacobian(points, points),
    "transformed": lambda bijection, points: TransformedDistribution(base(3), [bijection]).log_prob(points),
    "log_prob": lambda bijection, points: FlowDistribution(base(3), bijection).log_prob(points),
    "from_noise": lambda bijection, points: FlowDistribution(base(3), bijection).from_noise(points),
    "to_noise": lambda bijection, points: FlowDistribution(base(3), bijection).to_noise(points),
}


@every_flow
@pytest.mark.parametrize("shape", first([(6, 1), (6, 4), (1,), ()]))
def test_points_of_another_size_are_refused(name, shape):
    bijection = random_flow(name, 3, CONTEXT)(random_context(CONTEXT, BATCH))
    points = torch.ones(shape, dtype=torch.float64)
    for way, call in WRONG.items():
        if way == "transformed" and not shape:
            continue  # torch refuses it first
        with pytest.raises(ValueError, match=rf"^expected points with shape \(\*, 3\); got {re.escape(str(shape))}$"):
            call(bijection, points)
    with pytest.raises(ValueError, match=r"expected points with shape \(\*, 3\); got"):
        FlowDistribution(base(1), bijection)


@every_flow
def test_what_is_given_decides_the_bijection(name):
    """`build` sees the context through `given` alone, and every tensor of it matters to each image."""
    flow, h = random_flow(name, 3, CONTEXT, depth=2), random_context(CONTEXT, BATCH)
    given = {key: value.detach().requires_grad_() for key, value in flow.given(h).items()}
    z = torch.randn(BATCH, 3, dtype=torch.float64)
    built, bijection = flow.build(given), flow(h)
    expected = bijection.forward_and_log_det(z)
    torch.testing.assert_close(built.forward_and_log_det(z), expected, rtol=0, atol=0)
    assert built.batch_shape == bijection.batch_shape == ((BATCH,) if has_parameters(name) else ())
    assert built.features == bijection.features == 3
    assert flow.exact == bijection.exact
    assert all(value.shape[0] == BATCH for value in given.values())
    assert has_parameters(name) == bool(given)
    if given:
        y, log_det = built.forward_and_log_det(z)
        gradients = torch.autograd.grad(y.square().sum() + log_det.sum(), list(given.values()))
        for (key, value), gradient in zip(given.items(), gradients, strict=True):
            assert (gradient != 0).flatten(1).any(1).all(), key
            changed = flow.build({**given, key: value + 0.5 * torch.randn_like(value)}).forward_and_log_det(z)
            assert not torch.equal(torch.cat([changed[0].flatten(), changed[1]]), torch.cat([y.flatten(), log_det])), (
                key
            )


def leaves_beyond(outputs, tensors):
    """The leaves of the graph of some outputs that are reached without passing one of the tensors."""
    ids = {id(tensor) for tensor in tensors}
    ends = {tensor.grad_fn for tensor in tensors if tensor.grad_fn is not None}
    found, seen, todo = [], set(), [output.grad_fn for output in outputs]
    while todo:
        node = todo.pop()
        if node is None or node in seen or node in ends:
            continue
        seen.add(node)
        if hasattr(node, "variable") and id(node.variable) not in ids:
            found.append(node.variable)
        todo += [each for each, _ in node.next_functions]
    return found


@every_context
@pytest.mark.parametrize("direction", ["forward_and_log_det", "inverse_and_log_det"])
def test_the_tensors_of_a_bijection_are_all_that_it_is_made_of(name, context, direction):
    flow, h = random_flow(name, 3, context, depth=2), random_context(context, BATCH)
    if context:
        h.requires_grad_()
    bijection = flow(h)
    outputs = getattr(bijection, direction)(torch.randn(BATCH, 3, dtype=torch.float64))
    tensors = bijection.tensors()
    assert len({id(tensor) for tensor in tensors}) == len(tensors)
    assert leaves_beyond([each for each in outputs if each.grad_fn is not None], tensors) == []
    swapped = Inverse(bijection).tensors()
    assert [id(tensor) for tensor in swapped] == [id(tensor) for tensor in tensors]


def test_a_bijection_that_keeps_its_points_is_not_made_of_them():
    bijection = small_flow("planar", 3)().with_cache()
    bijection(torch.ones(5, 3))
    assert all(tensor.shape != (5, 3) for tensor in bijection.tensors())


class Shaky(Bijection):
    """A log-determinant that is estimated."""

    exact = False

    def _forward_and_log_det(self, z):
        return z, torch.randn(z.shape[:-1])

    _inverse_and_log_det = _forward_and_log_det


def test_a_chain_is_as_exact_as_its_parts():
    planar, shaky = small_flow("planar", 3)(), Shaky((3,))
    assert Chain([planar, planar]).exact
    assert not Chain([planar, shaky]).exact
    assert not Inverse(shaky).exact


@every_flow
@pytest.mark.parametrize("sizes", [{"features": 0}, {"depth": 0}, {"depth": -1}, {"context": -1}])
def test_impossible_sizes_are_refused(name, sizes):
    with pytest.raises(ValueError, match=f"{next(iter(sizes))} must be at least"):
        small_flow(name, **{"features": 2} | sizes)


@every_context
def test_batches_of_images_map_like_single_ones(name, context):
    """vmap over images gives the same as broadcasting: no operation mixes the batch."""
    flow, h = random_flow(name, 3, context, depth=2), random_context(context, BATCH)
    z = torch.randn(BATCH, 3, dtype=torch.float64)
    if context:
        single = vmap(lambda h, z: flow(h).forward_and_log_det(z))(h, z)
    else:
        single = vmap(lambda z: flow().forward_and_log_det(z))(z)
    torch.testing.assert_close(single, flow(h).forward_and_log_det(z))


class Masked(Bijection):
    """Stretch the coordinates that a constant mask lets through."""

    def __init__(self, log_scale):
        super().__init__(log_scale.shape)
        self.mask = torch.tensor([1.0, 0.0], dtype=log_scale.dtype)
        self.log_scale = log_scale

    def _forward_and_log_det(self, z):
        return z * (self.mask * self.log_scale).exp(), (self.mask * self.log_scale).sum(-1).expand(z.shape[:-1])

    def _inverse_and_log_det(self, y):
        return y / (self.mask * self.log_scale).exp(), -(self.mask * self.log_scale).sum(-1).expand(y.shape[:-1])


class MaskedFlow(ParametricFlow):
    bijection = Masked

    @staticmethod
    def shapes(features):
        return {"log_scale": (features,)}


@pytest.mark.parametrize("context", [0, CONTEXT])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_bijection_may_hold_constants(context, depth):
    """Round trip and log-determinant agree even where each layer has got another piece of the mask."""
    flow = MaskedFlow(2, context, depth)
    for parameter in flow.parameters():
        torch.nn.init.constant_(parameter, 0.0 if parameter.ndim == 2 else 1.0)
    y, log_det = flow(random_context(context, 4, torch.float32)).forward_and_log_det(torch.ones(4, 2))
    torch.testing.assert_close(y, torch.tensor([math.exp(depth), 1.0]).expand(4, 2))
    torch.testing.assert_close(log_det, torch.full((4,), float(depth)))
