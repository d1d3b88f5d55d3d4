"""Flow distributions as `torch.distributions` has them: batches, `expand`, `with_cache`, under every family."""

import pytest
import torch
from torch.distributions import ComposeTransform, Independent, MultivariateNormal, StudentT, TransformedDistribution

from nfvae.flows import DiagonalNormal, FlowDistribution
from nfvae.models import DataSpec
from nfvae.models.priors import PRIORS
from tests.helpers.flows import ALL, CASES, has_parameters, random_flow, swept
from tests.helpers.models import binary, small_vae

every_flow = pytest.mark.parametrize("case", ALL)
FEATURES, BATCH = 4, 5


def standard(*batch):
    return DiagonalNormal(torch.zeros(*batch, FEATURES).double(), torch.ones(*batch, FEATURES).double())


def bijection(case):
    return random_flow(case, FEATURES, 3, 2, gain=0.5)(torch.randn(BATCH, 3).double())


@every_flow
@pytest.mark.parametrize("base", [(), (1,), (BATCH,), (2, 1)])
def test_the_batch_is_that_of_base_and_bijection(case, base):
    own = (BATCH,) if has_parameters(case) else ()
    density = FlowDistribution(standard(*base), bijection(case))
    batch = torch.broadcast_shapes(base, own)
    assert density.batch_shape == batch
    for samples in (2, BATCH):  # as many samples as contexts are no excuse to give each sample one of them
        draw = density.draw((samples,))
        assert draw.z.shape == density.rsample((samples,)).shape == (samples, *batch, FEATURES)
        assert draw.log_prob.shape == (samples, *batch)
        torch.testing.assert_close(density.log_prob(draw.z), draw.log_prob, atol=1e-5, rtol=1e-5)
    alone = FlowDistribution(standard(*own), density.bijection)
    point = torch.randn(FEATURES).double()
    torch.testing.assert_close(density.log_prob(point), alone.log_prob(point).expand(batch))


def test_batches_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"a base of batch \(3,\) has no bijections of batch \(5,\)"):
        FlowDistribution(standard(3), bijection("planar"))


@every_flow
def test_expanded_densities_have_the_same_values(case):
    density = FlowDistribution(standard(BATCH), bijection(case))
    wide, z = density.expand((3, BATCH)), density.sample()
    assert wide.batch_shape == wide.rsample().shape[:-1] == (3, BATCH)
    torch.testing.assert_close(wide.log_prob(z), density.log_prob(z).expand(3, -1))
    z = density.sample((7,))
    torch.testing.assert_close(Independent(density, 1).log_prob(z), density.log_prob(z).sum(-1))


@pytest.mark.parametrize("name", sorted(PRIORS))
def test_every_part_of_a_model_expands(name):
    vae, x = small_vae(prior=PRIORS.make(name, latent=3, spec=DataSpec((12,)))).double(), binary(2).double()
    z = vae.posterior(x).sample()
    for density, value in ((vae.prior(), z[0]), (vae.decode(z), x), (vae.posterior(x), z)):
        wide = density.expand((6, *density.batch_shape))
        assert wide.batch_shape == (6, *density.batch_shape)
        torch.testing.assert_close(wide.log_prob(value), density.log_prob(value).expand(wide.batch_shape))
        assert wide.sample().shape == (*wide.batch_shape, *density.event_shape)


@every_flow
def test_a_bijection_with_a_cache_gives_back_the_very_point(case):
    plain = bijection(case)
    cached = plain.with_cache()
    assert cached.with_cache(1) is cached
    z = torch.randn(BATCH, FEATURES).double()
    y = cached(z)
    assert torch.equal(y, plain(z))
    assert cached.inv(y) is z


@pytest.mark.parametrize("case", ["planar", "iaf", "chain"])
def test_torch_composes_bijections_over_its_own_densities(case):
    map = random_flow(case, FEATURES, depth=2, gain=0.5)()
    there_and_back = ComposeTransform([map, map.inv]).with_cache(1)
    for base in (
        Independent(StudentT(torch.full((FEATURES,), 3.0).double()), 1),
        MultivariateNormal(torch.zeros(FEATURES).double(), torch.eye(FEATURES).double()),
    ):
        density, z = TransformedDistribution(base, there_and_back), base.sample((3,))
        torch.testing.assert_close(density.log_prob(z), base.log_prob(z), atol=1e-5, rtol=1e-5)


def test_what_a_flow_has_not_in_closed_form_is_said():
    density = FlowDistribution(standard(BATCH), bijection("planar"))
    for name in ("mean", "variance"):
        with pytest.raises(NotImplementedError, match=r"no .* in closed form"):
            getattr(density, name)
    with pytest.raises(NotImplementedError, match="no entropy in closed form"):
        density.entropy()


@pytest.mark.parametrize("case", swept(CASES))
@pytest.mark.parametrize("direction", ["forward_and_log_det", "inverse_and_log_det"])
def test_points_broadcast_against_contexts(case, direction):
    map, point = bijection(case), torch.randn(FEATURES).double()
    expected = getattr(map, direction)(point.expand(BATCH, FEATURES))
    for found in (getattr(map, direction)(point), getattr(map, direction)(point[None])):
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one.expand_as(other), other)
