"""The reverse KL: closed forms, where gradients go, and that every student learns from every teacher."""

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from nfvae.estimators import reverse_kl
from nfvae.flows import DiagonalNormal, FlowDensity, FlowDistribution
from nfvae.flows.cholesky import LowerTriangularAffine
from tests.helpers.flows import ALL, CASES, FEW, has_parameters, random_flow
from tests.helpers.sweeps import sweep

FEATURES = 3


def gaussian(batch, seed):
    """A full-covariance Gaussian of each element of a batch, as ours and as torch's."""
    torch.manual_seed(seed)
    factor = 0.3 * torch.randn(batch, FEATURES, FEATURES, dtype=torch.float64).tril(-1)
    factor = factor + torch.diag_embed(0.5 + torch.rand(batch, FEATURES, dtype=torch.float64))
    shift = torch.randn(batch, FEATURES, dtype=torch.float64)
    base = DiagonalNormal(torch.zeros_like(shift), torch.ones_like(shift))
    return FlowDistribution(base, LowerTriangularAffine(factor, shift)), MultivariateNormal(shift, scale_tril=factor)


def flow_density(name):
    flow = random_flow(name, 2)
    return flow, lambda: FlowDistribution(DiagonalNormal(*torch.tensor([[0.0] * 2, [1.0] * 2]).double()), flow())


def test_equals_the_analytic_divergence_of_gaussians():
    (student, exact_student), (teacher, exact_teacher) = gaussian(5, 1), gaussian(5, 2)
    groups = torch.stack([reverse_kl(student, teacher.log_prob, 5_000) for _ in range(40)])
    error = (groups.mean(0) - kl_divergence(exact_student, exact_teacher)) / (groups.std(0) / len(groups) ** 0.5)
    assert error.shape == (5,)
    assert (error.abs() < 4).all()


def test_an_unnormalized_target_shifts_the_estimate_by_its_normalizer():
    (student, _), (teacher, _) = gaussian(5, 1), gaussian(5, 2)
    torch.manual_seed(3)
    whole = reverse_kl(student, teacher.log_prob, 10)
    torch.manual_seed(3)
    shifted = reverse_kl(student, lambda z: teacher.log_prob(z) - 7, 10)
    torch.testing.assert_close(shifted, whole + 7)


@pytest.mark.parametrize("name", ALL)
def test_is_zero_for_identical_densities(name):
    _, density = flow_density(name)
    torch.testing.assert_close(reverse_kl(density(), density().log_prob, 50), torch.zeros((), dtype=torch.float64))


@pytest.mark.parametrize("name", [name for name in CASES if has_parameters(name)])
def test_gradients_reach_every_parameter_of_the_student_and_none_of_a_frozen_teacher(name):
    (student_flow, student), (teacher_flow, teacher) = flow_density(name), flow_density("planar")
    teacher_flow.requires_grad_(False)
    reverse_kl(student(), teacher().log_prob, 20).backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in student_flow.parameters())
    assert all(parameter.grad is None for parameter in teacher_flow.parameters())


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="samples must be at least 1; got 0"):
        reverse_kl(gaussian(1, 1)[0], lambda z: z.sum(-1), 0)


PAIRS = [*zip(ALL, [*ALL[7:], *ALL[:7]], strict=True)]


@pytest.mark.parametrize(("student_name", "teacher_name"), sweep(PAIRS, lambda student, _: student in FEW))
def test_every_flow_learns_from_another_and_teaches_another(student_name, teacher_name):
    torch.manual_seed(1)
    student, teacher = (
        FlowDensity(random_flow(name, 2, depth=2, gain=0.7, dtype=torch.float32))
        for name in (student_name, teacher_name)
    )
    torch.nn.init.constant_(teacher.requires_grad_(False).loc, 1.0)
    optimizer = torch.optim.Adam(student.parameters(), 1e-2)

    def divergence():
        torch.manual_seed(2)
        with torch.no_grad():
            return reverse_kl(student(), teacher().log_prob, 2000).item()

    before = divergence()
    for _ in range(100):
        optimizer.zero_grad()
        reverse_kl(student(), teacher().log_prob, 100).backward()
        optimizer.step()
    assert -0.05 < divergence() < 0.7 * before
