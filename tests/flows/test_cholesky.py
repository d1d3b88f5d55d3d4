"""The lower-triangular affine flow."""

import torch

from nfvae.flows import FlowDistribution, make_flow
from nfvae.flows.cholesky import LowerTriangularAffine
from nfvae.models.priors.normal import StandardNormal
from tests.helpers.flows import CONTEXT, random_flow


def test_cholesky_makes_a_gaussian_with_full_covariance():
    flow = random_flow("cholesky", 4)
    bijection = flow().parts[0]
    standard = StandardNormal(4).double()
    y = torch.randn(7, 4, dtype=torch.float64)
    expected = torch.distributions.MultivariateNormal(bijection.shift, scale_tril=bijection.matrix).log_prob(y)
    torch.testing.assert_close(FlowDistribution(standard(), flow()).log_prob(y), expected)
    assert (bijection.matrix.tril(-1) != 0).sum() == 6


def test_lower_triangular_affine_broadcasts_samples_without_copying_the_matrix():
    flow = make_flow("cholesky", 6, CONTEXT)
    bijection = flow(torch.randn(4, CONTEXT)).parts[0]
    assert isinstance(bijection, LowerTriangularAffine)
    z = torch.randn(50, 4, 6)
    expected = (bijection.matrix @ z.unsqueeze(-1)).squeeze(-1) + bijection.shift
    torch.testing.assert_close(bijection(z), expected)
