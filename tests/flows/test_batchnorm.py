"""Batch normalization: the moments of training, and those of evaluation."""

import math

import pytest
import torch

from nfvae.flows import make_flow


def flow_with(normalizes):
    flow = make_flow("batchnorm", 3, depth=1, normalizes=normalizes).double()
    for parameter in flow.parameters():
        torch.nn.init.zeros_(parameter)
    return flow


def batch(count=500):
    return torch.randn(count, 3, dtype=torch.float64) * torch.tensor([2.0, 0.1, 5.0]) + torch.tensor([1.0, -3.0, 0.0])


@pytest.mark.parametrize(
    ("normalizes", "direction"), [("forward", "forward_and_log_det"), ("inverse", "inverse_and_log_det")]
)
def test_training_divides_by_the_moments_of_the_batch_and_evaluation_by_their_averages(normalizes, direction):
    flow, x = flow_with(normalizes), batch()
    y, log_det = getattr(flow(), direction)(x)
    torch.testing.assert_close(y.mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(y.var(0, correction=0), torch.ones(3, dtype=torch.float64), atol=1e-2, rtol=0)
    torch.testing.assert_close(log_det, -(x.var(0, correction=0) + 1e-5).log().sum().expand(500) / 2)
    torch.testing.assert_close(flow.mean[0], 0.1 * x.mean(0))
    torch.testing.assert_close(flow.variance[0], 0.9 + 0.1 * x.var(0, correction=0))
    for _ in range(200):
        getattr(flow(), direction)(x)
    alone, own = getattr(flow.eval()(), direction)(x[:1])  # a datum without its neighbors
    torch.testing.assert_close(alone, y[:1], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(own, log_det[:1], rtol=1e-6, atol=1e-6)
    before = flow.mean.clone()
    getattr(flow(), direction)(batch())
    assert torch.equal(flow.mean, before)


def test_the_log_determinant_has_the_gradient_of_the_moments():
    flow, x = flow_with("forward"), batch(20).requires_grad_()
    flow().forward_and_log_det(x)[1][0].backward()
    expected = -(x - x.mean(0)).detach() / (20 * (x.var(0, correction=0) + 1e-5).detach())
    torch.testing.assert_close(x.grad, expected)
    assert math.isfinite(float(x.grad.sum()))
