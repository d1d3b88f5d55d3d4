"""The contract of univariate maps, and the traps that such maps have fallen into elsewhere."""

import math

import pytest
import torch

from nfvae.flows.univariate import UNIVARIATES
from nfvae.flows.univariate.bins import Piecewise
from nfvae.flows.univariate.maker import UnivariateMaker
from nfvae.flows.univariate.mixture import SigmoidMixture

MANY = 2000
every_map = pytest.mark.parametrize("name", list(UNIVARIATES))
in_pieces = [name for name in UNIVARIATES if issubclass(UNIVARIATES.load(name), Piecewise)]


def random_maps(name, count=MANY, size=2.0, dtype=torch.float64, **options):
    """Maps of as many coordinates, one coordinate a map."""
    maker = UnivariateMaker(name, options)
    return maker(size * torch.randn(maker.count, count, dtype=dtype))


def points(count=MANY):
    """The middle, and both tails as far as they go."""
    far = torch.logspace(0, 6, count // 2, dtype=torch.float64) * torch.randn(count // 2).sign()
    return torch.cat([3 * torch.randn(count - count // 2, dtype=torch.float64), far])


@every_map
def test_slope_is_that_of_autograd_and_positive(name):
    maps, z = random_maps(name), points().requires_grad_()
    y, log_slope = maps.forward_and_log_slope(z)
    (slope,) = torch.autograd.grad(y.sum(), z)
    assert (slope > 0).all()
    torch.testing.assert_close(log_slope, slope.log(), rtol=1e-8, atol=1e-8)


@every_map
def test_round_trip_far_into_the_tails(name):
    maps, z = random_maps(name), points()
    y, log_slope = maps.forward_and_log_slope(z)
    back, inverse_log_slope = maps.inverse_and_log_slope(y)
    torch.testing.assert_close(back, z, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(inverse_log_slope, -log_slope, rtol=1e-7, atol=1e-7)


@every_map
def test_increases_and_reaches_everything(name):
    maps = random_maps(name, 50)
    line = torch.cat([-torch.logspace(8, -3, 300), torch.zeros(1), torch.logspace(-3, 8, 300)]).double()[:, None]
    y, _ = maps.forward_and_log_slope(line.expand(-1, 50))
    assert (y.diff(dim=0) > 0).all()
    assert (y[0] < -1e4).all()
    assert (y[-1] > 1e4).all()


@every_map
def test_zeros_give_the_identity(name):
    maker = UnivariateMaker(name, {"bias": 100.0} if name == "gate" else {})  # a gate that is open
    z = points()
    y, log_slope = maker(torch.zeros(maker.count, MANY, dtype=torch.float64)).forward_and_log_slope(z)
    torch.testing.assert_close(y, z, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(log_slope, torch.zeros_like(z), rtol=0, atol=1e-12)


@every_map
@pytest.mark.parametrize("direction", ["forward_and_log_slope", "inverse_and_log_slope"])
def test_gradients_are_finite_at_knots_and_in_tails(name, direction):
    """The ends of the interval, its knots where parameters are zero, points far out, a batch that is all tails."""
    maker = UnivariateMaker(name)
    knots = torch.linspace(-5, 5, 17).double()
    for where in (knots, torch.tensor([-1e6, -5.0, 5.0, 1e6]).double(), torch.full((3,), 1e8).double()):
        for size in (0.0, 2.0, 30.0):
            values = (size * torch.randn(maker.count, len(where), dtype=torch.float64)).requires_grad_()
            z = where.clone().requires_grad_()
            y, log_slope = getattr(maker(values), direction)(z)
            gradients = torch.autograd.grad(y.sum() + log_slope.sum(), [z, values])
            assert all(gradient.isfinite().all() for gradient in gradients)


@every_map
@pytest.mark.parametrize("direction", ["forward_and_log_slope", "inverse_and_log_slope"])
def test_gradients_are_right(name, direction):
    maker = UnivariateMaker(name)
    values = torch.randn(maker.count, 5, dtype=torch.float64, requires_grad=True)
    z = torch.tensor([-7.0, -1.3, 0.2, 1.7, 6.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, z: getattr(maker(v), direction)(z), (values, z), atol=1e-5, rtol=1e-4)


@every_map
@pytest.mark.parametrize("size", [0.0, 1.0, 100.0, 1e4])
def test_float32_stays_finite(name, size):
    maps = random_maps(name, size=size, dtype=torch.float32)
    for z in (points().float(), torch.zeros(MANY), torch.full((MANY,), -1e4)):
        for direction in (maps.forward_and_log_slope, maps.inverse_and_log_slope):
            assert all(value.isfinite().all() for value in direction(z))


@every_map
def test_float32_round_trip(name):
    maps, z = random_maps(name, size=0.5, dtype=torch.float32), points().float()
    back, _ = maps.inverse_and_log_slope(maps.forward_and_log_slope(z)[0])
    torch.testing.assert_close(back, z, rtol=1e-3, atol=1e-3)


@every_map
def test_parameters_are_shared_by_samples(name):
    maps, z = random_maps(name, 30), torch.randn(4, 7, 30, dtype=torch.float64)
    together = maps.forward_and_log_slope(z)
    for k in range(4):
        for b in range(7):
            torch.testing.assert_close((together[0][k, b], together[1][k, b]), maps.forward_and_log_slope(z[k, b]))


@pytest.mark.parametrize("name", in_pieces)
def test_pieces_keep_their_interval_and_leave_the_rest_alone(name):
    maps, ends = random_maps(name, bound=2.5), torch.tensor([[-2.5], [2.5]], dtype=torch.float64)
    inside = ends * (1 - 1e-12)
    y, _ = maps.forward_and_log_slope(inside.expand(-1, MANY))
    torch.testing.assert_close(y, ends.expand(-1, MANY), rtol=0, atol=1e-8)
    outside, log_slope = maps.forward_and_log_slope(1.5 * ends.expand(-1, MANY))
    assert (outside == 1.5 * ends).all()
    assert (log_slope == 0).all()


@pytest.mark.parametrize("name", ["spline", "piecewise_quadratic"])
def test_density_is_continuous_where_the_interval_ends(name):
    """Halving the first width twice leaves a slope of 0.904 there, where the tail's is 1."""
    maps = random_maps(name)
    for end in (-5.0, 5.0):
        _, log_slope = maps.forward_and_log_slope(torch.full((MANY,), end * (1 - 1e-11), dtype=torch.float64))
        torch.testing.assert_close(log_slope, torch.zeros_like(log_slope), rtol=0, atol=1e-4)


def test_piecewise_quadratic_slope_integrates_to_the_interval():
    maps = random_maps("piecewise_quadratic", bins=5)
    area = maps.width * (maps.start + maps.end) / 2
    torch.testing.assert_close(area.sum(0), torch.full((MANY,), 10.0, dtype=torch.float64))


def test_piecewise_quadratic_is_inverted_where_two_heights_are_equal():
    maker = UnivariateMaker("piecewise_quadratic")
    values = torch.zeros(maker.count, MANY, dtype=torch.float64)
    values[: maker.shapes["widths"][0]] = torch.randn(maker.shapes["widths"][0], MANY)
    z = torch.linspace(-4.9, 4.9, MANY, dtype=torch.float64)
    maps = maker(values)
    torch.testing.assert_close(maps.inverse_and_log_slope(maps.forward_and_log_slope(z)[0])[0], z)


def test_spline_inverse_has_no_negative_discriminant():
    """Slopes and shares at their extremes, where a discriminant rounds below zero."""
    maps = random_maps("spline", 20_000, size=40.0, dtype=torch.float32)
    z, log_slope = maps.inverse_and_log_slope(10 * torch.rand(20_000) - 5)
    assert z.isfinite().all()
    assert log_slope.isfinite().all()
    assert (z.abs() <= 5 + 1e-5).all()


def test_logit_of_a_mixture_keeps_its_precision_in_the_tails():
    """In float32 sigmoid(20) is 1, and log(1/1 - 1) is not 20."""
    one = torch.zeros(1, 1)
    mixture = SigmoidMixture(one, one, one)
    z = torch.tensor([20.0, 50.0, 1e4])[:, None]
    for sign in (1, -1):
        y, log_slope = mixture.forward_and_log_slope(sign * z)
        torch.testing.assert_close(y, sign * z)
        torch.testing.assert_close(log_slope, torch.zeros_like(z), rtol=0, atol=1e-5)


def test_mixture_is_the_logit_of_the_distribution_function():
    maker = UnivariateMaker("logistic", {"components": 3})
    values = torch.randn(maker.count, 1, dtype=torch.float64)
    weights, means, scales = (part[..., 0] for part in values[:9].split(3))
    shift, score = values[9, 0], values[10, 0]
    z = torch.linspace(-6, 6, 50, dtype=torch.float64)
    width = torch.exp(3 * torch.tanh(scales / 3))
    share = (weights.softmax(0) * torch.sigmoid((z[:, None] - means) / width)).sum(-1)
    expected = torch.exp(3 * torch.tanh(score / 3)) * (0.999 * torch.logit(share) + 0.001 * z) + shift
    torch.testing.assert_close(maker(values).forward_and_log_slope(z[:, None])[0][:, 0], expected)


def test_mixture_is_found_far_outside_of_any_fixed_bracket():
    maps, z = random_maps("sigmoid"), torch.full((MANY,), 3e5, dtype=torch.float64)
    back, _ = maps.inverse_and_log_slope(maps.forward_and_log_slope(z)[0])
    torch.testing.assert_close(back, z, rtol=1e-10, atol=0)


def test_spline_follows_the_paper():
    """The rational quadratic of one bin, evaluated as equation 4 has it."""
    maker = UnivariateMaker("spline", {"bins": 3, "bound": 3.0})
    maps = maker(torch.randn(maker.count, 1, dtype=torch.float64))
    k = 1
    left, width, bottom, height = (each[k, 0] for each in (maps.left, maps.width, maps.bottom, maps.height))
    start, end, share = maps.start[k, 0], maps.end[k, 0], height / width
    t = torch.linspace(0.01, 0.99, 20, dtype=torch.float64)
    above = height * (share * t**2 + start * t * (1 - t))
    expected = bottom + above / (share + (end + start - 2 * share) * t * (1 - t))
    torch.testing.assert_close(maps.forward_and_log_slope((left + width * t)[:, None])[0][:, 0], expected)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("spline", {"bins": 0}, "bins must be at least 1; got 0"),
        ("spline", {"bins": 501}, "bins must be at most 500; got 501"),
        ("spline", {"bins": 2.5}, "bins must be a whole number"),
        ("piecewise_linear", {"bound": -1}, "bound must be above 0"),
        ("spline", {"bin": 3}, "unknown option 'bin' of univariate map 'spline'; known options: bins, bound"),
        ("shift", {"bound": 3}, "unknown option 'bound' of univariate map 'shift'; known options: none"),
        ("sigmoid", {"units": "many"}, "units must be a whole number"),
    ],
)
def test_mistakes_are_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        UnivariateMaker(name, options)


def test_shift_keeps_volumes():
    _, log_slope = random_maps("shift").forward_and_log_slope(points())
    assert (log_slope == 0).all()


def test_only_the_affine_map_stretches():
    z = torch.randn(MANY, dtype=torch.float64)
    assert random_maps("gate").forward_and_log_slope(z)[1].max() < 0
    assert 0 < random_maps("affine").forward_and_log_slope(z)[1].max() <= 3
    assert math.isclose(random_maps("affine", size=1e6).forward_and_log_slope(z)[1].max(), 3)
