"""Roots, softplus, sums of exponentials."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nfvae.numerics import SMALLEST_SOFTPLUS, log_mean_exp, monotone_root, shifted_softplus


@settings(deadline=None, max_examples=200)
@given(
    slope=st.floats(SMALLEST_SOFTPLUS - 1, 1e4),
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
    torch.testing.assert_close(found, root, rtol=1e-10, atol=1e-11 * (1 + slope.abs().item()) / SMALLEST_SOFTPLUS)


def test_shifted_softplus_has_its_floor_and_its_one():
    a = torch.linspace(-200, 200, 4001, dtype=torch.float64)
    value = shifted_softplus(a)
    assert shifted_softplus(torch.zeros((), dtype=torch.float64)).item() == pytest.approx(1.0, abs=1e-15)
    assert (value >= SMALLEST_SOFTPLUS).all()
    assert (value.diff() >= 0).all()
    assert (shifted_softplus(a.float()) > 0).all()


def test_log_mean_exp_does_not_overflow():
    x = torch.tensor([[1000.0, -1000.0], [1000.0, -1000.0]])
    torch.testing.assert_close(log_mean_exp(x, 0), torch.tensor([1000.0, -1000.0]))
    torch.testing.assert_close(log_mean_exp(torch.tensor([0.0, 3.0]).log()), torch.tensor(1.5).log())
