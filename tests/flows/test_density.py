"""What makes a density a density: weights that average to one."""

from itertools import product

import pytest
import torch

from nfvae.flows import DiagonalNormal, FlowDistribution
from nfvae.flows.planar import Planar
from tests.helpers.flows import ALL, VARIED, random_flow
from tests.helpers.models import SquashedPlanar
from tests.helpers.sweeps import sweep

# a root for each of many samples, sought coordinate by coordinate, costs minutes, and says what elementwise says
CHEAP = [case for case in VARIED if not case.startswith("maf:") or ("logistic" not in case and "sigmoid" not in case)]


def mean_weight(bijection, features, samples=400_000):
    """E_q[p/q] for a narrow normalized p, with its standard error, from forward passes alone."""
    zeros = torch.zeros(features, dtype=torch.float64)
    wide = DiagonalNormal(zeros, zeros + 2)
    z, log_q = FlowDistribution(wide, bijection).draw((samples,))[:2]
    center = bijection(torch.zeros(features, dtype=torch.float64)).detach()
    weights = (DiagonalNormal(center, zeros + 0.7).log_prob(z) - log_q).exp()
    return weights.mean().item(), (weights.std() / samples**0.5).item()


GRID = [*product(ALL, [1, 2, 3]), *product(CHEAP, [2])]


@pytest.mark.parametrize(("name", "features"), sweep(GRID, lambda name, features: name in ALL and features == 2))
def test_weights_average_to_one(name, features):
    """E_q[p/q] = 1 for any normalized p: a flow that maps two points onto one counts p twice."""
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
