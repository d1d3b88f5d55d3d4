"""Every estimator takes a model in whatever mode it is, and leaves it so."""

import pytest
import torch

from nfvae import elbo, inference_gaps, log_likelihood, make_vae, sandwich, simulate
from nfvae.estimators import annealed_log_likelihood, log_weights
from nfvae.training import DensityEstimation
from nfvae.training.preparation import prepare_fit
from tests.helpers.models import binary, small_vae

X = torch.bernoulli(torch.full((3, 64), 0.3), generator=torch.Generator().manual_seed(0))
ESTIMATORS = {
    "log_likelihood": lambda model: log_likelihood(model, X, 50),
    "log_weights": lambda model: (log_weights(model, X, 50),),
    "annealed": lambda model: annealed_log_likelihood(model, X, 2, 10),
    "simulate": lambda model: simulate(model, 3),
    "sandwich": lambda model: sandwich(model, simulate(model, 3), 2, 10),
    "gaps": lambda model: inference_gaps(model, X, 2, 10, starts=0),
    "encode": lambda model: model.encode(X),
    "reconstruct": lambda model: (model.reconstruct(X),),
    "sample": lambda model: (model.sample(3),),
}
every_estimator = pytest.mark.parametrize("estimate", ESTIMATORS.values(), ids=ESTIMATORS)


pytestmark = pytest.mark.usefixtures("short_gaps")


def model(**settings):
    narrow = {"hidden": [16]}
    dropped = {"encoder_options": {**narrow, "dropout": 0.5}, "decoder_options": narrow, "latent": 4, "context": 4}
    return make_vae(shape=[8, 8], **{"flow": "none", "depth": 1, **dropped, **settings})


def seeded(estimate, vae):
    torch.manual_seed(0)
    return estimate(vae)


@every_estimator
def test_dropout_is_off_and_the_mode_is_as_before(estimate):
    vae = model()
    expected = seeded(estimate, vae.eval())
    vae.train()
    vae.decoder.eval()
    modes = {name: module.training for name, module in vae.named_modules()}
    for values in (seeded(estimate, vae), seeded(estimate, vae)):
        for one, other in zip(values, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    assert {name: module.training for name, module in vae.named_modules()} == modes


@every_estimator
def test_nothing_starts_from_what_is_evaluated(estimate):
    start = {"flow": "glow", "depth": 1, "flow_options": {"start": "data", "hidden": 8}}
    vae = model(**start, prior="flow", prior_options=start).train()
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    estimate(vae)
    assert all(torch.equal(value, before[name]) for name, value in vae.state_dict().items())


def test_the_check_of_a_density_before_its_training_does_not_start_it():
    module = DensityEstimation("actnorm", 1, flow_options={"start": "data"})
    prepare_fit(module, None)
    assert not module.model.flow.started
    assert module.model.flow.training


@every_estimator
def test_estimates_can_be_weighed_and_changed(estimate):
    for value in estimate(model()):
        assert not value.is_inference()
        (torch.nn.Parameter(torch.ones_like(value)) * value).sum().backward()
        value.mul_(2)


@every_estimator
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("flow", ["none", "planar", "iaf"])
def test_weights_of_16_bits_are_refused(estimate, dtype, flow):
    with pytest.raises(ValueError, match=rf"the model's weights are {dtype}, .*: take model\.float\(\)"):
        estimate(model(flow=flow).to(dtype))


def test_a_model_of_16_bits_has_no_log_densities():
    vae = small_vae().bfloat16()
    with pytest.raises(ValueError, match=r"the model.s weights are torch\.bfloat16"):
        elbo(vae(binary(2).bfloat16()))
