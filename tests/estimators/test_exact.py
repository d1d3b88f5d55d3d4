"""Whatever needs an exact log-determinant refuses a flow that estimates its own, and says what to do."""

import pytest
import torch

from nfvae.estimators import annealed_log_likelihood, inference_gaps, log_likelihood, log_weights, path_draw, sandwich
from nfvae.estimators import elbo as bound
from nfvae.estimators.sandwich import Simulated
from nfvae.flows import FlowDensity
from nfvae.models.priors.flow import FlowPrior
from nfvae.runs.densities import density_table
from tests.helpers.flows import small_flow
from tests.helpers.models import binary, small_vae
from tests.helpers.own import EstimatedFlow

OWN = "tests.helpers.own:EstimatedFlow"
REMEDY = "needs exact log-determinants; EstimatedFlow estimates them: choose its option for exact ones, or another flow"
LIKELIHOODS = {
    "importance": lambda vae, x: log_likelihood(vae, x, 10),
    "weights": lambda vae, x: log_weights(vae, x, 10),
    "annealed": lambda vae, x: annealed_log_likelihood(vae, x, 2, 10),
    "sandwich": lambda vae, x: sandwich(vae, Simulated(x, torch.zeros(2, 3)), 2, 10),
    "gap": lambda vae, x: inference_gaps(vae, x, 2, 10, starts=0),
}


def with_posterior():
    vae = small_vae(features=3, context=4)
    vae.posterior.flow = EstimatedFlow(3, 4, 2)
    return vae


def with_prior():
    return small_vae(features=3, context=4, prior=FlowPrior(3, flow=OWN))


@pytest.mark.parametrize("estimate", LIKELIHOODS.values(), ids=LIKELIHOODS)
@pytest.mark.parametrize("make", [with_posterior, with_prior])
def test_a_likelihood_is_refused(estimate, make):
    with pytest.raises(ValueError, match=f"a likelihood {REMEDY}"):
        estimate(make(), binary(2))


def test_training_and_samples_take_it():
    vae = with_posterior()
    assert bound(vae(binary(2))).isfinite()
    assert vae.encode(binary(2)).z.isfinite().all()


def test_a_path_gradient_is_refused():
    with pytest.raises(ValueError, match="a path gradient " + REMEDY.replace("EstimatedFlow", "Estimated")):
        path_draw(FlowDensity(EstimatedFlow(2))())


def test_a_density_has_no_nll():
    densities = {"own": FlowDensity(EstimatedFlow(2))(), "exact": FlowDensity(small_flow("planar", 2))()}
    own, exact = density_table(densities, torch.zeros(5, 2), 10).rows
    assert own["nll"] is None
    assert exact["nll"] > 0


@pytest.mark.parametrize("command", ["evaluate", "gap", "encode", "score"])
def test_commands_refuse_it_in_one_line(fit, cli, command):
    code, _, err = fit("--name", "own", "--model.flow", OWN, "--model.flow_options", "null", "--trainer.max_epochs", 1)
    assert code == 0, err
    torch.save(binary(2).new_zeros(2, 8, 8), "x.pt")
    arguments = ["--input", "x.pt"] if command in ("encode", "score") else ["--limit", 2]
    code, _, err = cli(command, "runs/own", *arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert REMEDY in err


def test_a_teacher_is_refused(cli):
    quick = ["--trainer.max_epochs", 1, "--trainer.enable_progress_bar", "false"]
    moons = ["--data.dataset", "two_moons", "--data.dataset_options.count", 300, *quick]
    code, _, err = cli("fit", "--task", "density", "--name", "own", "--model.flow", OWN, *moons)
    assert code == 0, err
    code, _, err = cli("fit", "--task", "distill_density", "--model.teacher", "runs/own", *moons)
    assert code == 2
    assert f"the density of the teacher runs/own {REMEDY}" in err
