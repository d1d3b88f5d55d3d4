"""The planar flow."""

import torch

from nfvae.flows.planar import Planar

HARD = 10_000


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
