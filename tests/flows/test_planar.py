"""The planar flow."""

import pytest
import torch

from nfvae.flows import Chain
from nfvae.flows.planar import Planar, PlanarFlow

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


@pytest.mark.parametrize(("context", "batch"), [(3, (50, 4)), (3, (20, 50, 4)), (0, (50,)), (0, (30, 2))])
def test_many_points_pass_the_layers_together_as_one_by_one(context, batch):
    flow = PlanarFlow(6, context, depth=5).double()
    torch.nn.init.normal_(flow.head.bias)
    h = torch.randn(4, context, dtype=torch.float64) if context else None
    z = torch.randn(*batch, 6, dtype=torch.float64, requires_grad=True)
    found = []
    for bijection in (flow(h), Chain(flow(h).parts)):
        y, log_det = bijection.forward_and_log_det(z)
        gradients = torch.autograd.grad((y.sin() + log_det.unsqueeze(-1)).sum(), [z, *flow.parameters()])
        found.append([y, log_det, *gradients])
    torch.testing.assert_close(*found)


def test_layers_of_another_map_are_not_passed_together():
    class Still(Planar):
        def _forward_and_log_det(self, z):
            return z, z.new_zeros(z.shape[:-1])

    flow = PlanarFlow(6, depth=2)
    flow.bijection = Still
    z = torch.randn(100, 6)
    torch.testing.assert_close(flow()(z), z)
