"""Flows fitted to unnormalized densities: the targets, their normalizers, and the command that fits them."""

import json
import math
from pathlib import Path

import pytest
import torch

from nfvae import EnergyEstimation, anneal, make_flow
from nfvae.data import DataModule
from nfvae.estimators import importance_normalizer
from nfvae.flows import DiagonalNormal, FlowDensity, FlowDistribution, Identity
from nfvae.runs.energies import quadrature, verdict
from nfvae.targets import TARGETS, U1, load_target
from tests.training.test_density import trainer

NORMALIZED = ("banana", "gaussian_mixture")
SHORT = ["--trainer.max_epochs", 1, "--data.dataset_options.count", 1000, "--data.batch_size", 100]
SMALL = ["--samples", 200, "--chains", 2, "--temperatures", 5]


def detached(z):
    return -z.detach().square().sum(-1)


def broken(z):
    return -z.log().sum(-1)


def far(z):
    """A Gaussian far from the origin."""
    return -((z - 100) ** 2).sum(-1) / 2


def gaussian(scale=3.0):
    return FlowDistribution(DiagonalNormal(torch.zeros(2), torch.full((2,), scale)), Identity((2,)))


@pytest.mark.parametrize("name", TARGETS)
def test_the_normalizer_of_every_target_agrees_with_quadrature(name):
    target = load_target(name)
    exact = quadrature(target, 2)
    if name in NORMALIZED:
        assert abs(exact) < 1e-3
    importance = importance_normalizer(target, gaussian(), 100_000)
    assert abs(float(importance.log_normalizer) - exact) < 4 * float(importance.standard_error) + 1e-3
    assert 1 < importance.ess < 100_000
    annealed = anneal(target, gaussian(), 200, 50)
    assert abs(float(annealed.log_normalizer) - exact) < 5 * float(annealed.standard_error) + 0.02
    assert annealed.mean_log_weight < annealed.log_normalizer
    assert 0.2 < annealed.acceptance < 1


def test_the_ring_is_that_of_the_paper():
    z = torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.3, -0.8]], dtype=torch.float64)
    radius, x = z.norm(dim=1), z[:, 0]
    bells = torch.exp(-(((x - 2) / 0.6) ** 2) / 2) + torch.exp(-(((x + 2) / 0.6) ** 2) / 2)
    torch.testing.assert_close(U1(z), -(((radius - 2) / 0.4) ** 2) / 2 + bells.log())


def test_annealing_takes_any_log_density_and_refuses_others():
    found = anneal(lambda z: -z.square().sum(-1) / 2, gaussian(1.0), 10, 5)
    assert float(found.log_normalizer) == pytest.approx(math.log(2 * math.pi), abs=1e-5)
    for wrong, message in ((gaussian().expand([3]), "starts from one density"), (gaussian(), "chains must be")):
        with pytest.raises(ValueError, match=message):
            anneal(U1, wrong, 0 if message.startswith("chains") else 2, 3)


def test_a_flow_learns_a_density_with_its_normalizer(tmp_path):
    module = EnergyEstimation("banana", depth=6, flow="nsf", lr=2e-3, gradient="path", warmup_epochs=2)
    fit = trainer(8, default_root_dir=tmp_path)
    fit.fit(module, DataModule("noise", dataset_options={"count": 10_000}, batch_size=200))
    free_energy = float(fit.callback_metrics["val/free_energy"])
    assert free_energy == pytest.approx(0, abs=0.15)  # KL(q, p) of a normalized density


def test_the_metric_is_that_of_the_whole_log_density_while_it_is_annealed():
    torch.manual_seed(0)
    module = EnergyEstimation("u1", depth=1, warmup_epochs=10)
    module.anneal(0, 0.0)
    assert module.is_warming_up
    torch.manual_seed(1)
    _, metrics = module.loss_and_metrics(torch.zeros(2_000, 2))
    torch.manual_seed(1)
    draw = module.model().draw((2_000,))
    torch.testing.assert_close(metrics["free_energy"], (draw.log_prob - U1(draw.z)).mean().detach())


def test_a_quadrature_that_misses_the_density_gives_nothing():
    assert quadrature(far, 2) is None
    assert quadrature(far, 1) is None
    assert quadrature(U1, 3) is None


def test_estimates_that_differ_are_not_believed():
    errors = {"log_z_se": 0.01, "log_z_annealed_se": 0.02}
    assert "agree" in verdict({"log_z": 1.0, "log_z_annealed": 1.05} | errors)
    assert "differ by 6.40 nats" in verdict({"log_z": -44.2, "log_z_annealed": -37.8} | errors)


def test_an_energy_is_fitted_evaluated_and_drawn_by_commands(cli):
    for depth in (1, 2):
        words = ["--model.target", "nfvae.targets:U1", "--model.depth", depth, "--name", f"ring-{depth}", *SHORT]
        code, _, error = cli("fit", "--task", "energy", *words)
        assert code == 0, error
        assert Path(f"runs/ring-{depth}/energy.png").is_file()
    code, out, error = cli("evaluate", "runs/ring-1", "runs/ring-2", *SMALL)
    assert code == 0, error
    assert "log Z, quadrature" in out
    assert "runs/ring-1: Importance sampling and annealing" in out
    summary = json.loads(Path("runs/ring-1/energy.json").read_text())
    assert summary["log_z_exact"] == pytest.approx(quadrature(U1, 2), abs=1e-6)
    assert summary["kl"] > 0
    assert cli("evaluate", "runs/ring-1", "runs/ring-2", *SMALL)[1] == out  # read, not computed again
    code, out, error = cli("plot", "energy", "runs/ring-1", "runs/ring-2")
    assert code == 0, error
    code, out, error = cli("sample", "runs/ring-1", "--output", "s.csv")
    assert (code, out) == (0, "s.csv\n"), error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.target", "u9"], "unknown target 'u9'; known targets: u1, u2, u3, u4"),
        (["--model.target", "nfvae.targets:TARGETS"], "is no function of points"),
        (["--model.target", "nfvae.targets:load_target"], "the target fails for points of 2 coordinates"),
        (["--model.target", "torch:exp"], "the target should give a number for each point, shape (50, 2); got shape"),
        (["--model.target", "tests.training.test_energy:detached"], "has no gradient in coordinate 1, 2 of 2"),
        (["--model.target", "tests.training.test_energy:broken"], "the target gives NaN at"),
        (["--model.target", "u2", "--data.dataset_options.features", 3], "has no gradient in coordinate 3 of 3"),
        (["--model.target", "banana", "--data.dataset_options.features", 1], "the target fails for points of 1"),
        (["--model.gradient", "reinforce"], "unknown energy gradient 'reinforce'"),
    ],
)
def test_mistakes_get_one_line(arguments, message, cli):
    code, _, error = cli("fit", "--task", "energy", *arguments, *SHORT)
    assert code == 2
    assert error.count("\n") == 1
    assert message in error


def test_path_gradients_need_a_gaussian_base():
    from nfvae.estimators import path_draw
    from nfvae.flows.bases import StudentBase

    density = FlowDensity(make_flow("planar", features=2), base=StudentBase(2))()
    with pytest.raises(ValueError, match="a path gradient needs a Gaussian base"):
        path_draw(density)
