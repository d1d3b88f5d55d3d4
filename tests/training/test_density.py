"""Density estimation on toy vectors, by data and by a teacher."""

import math
import re
import shutil
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from nfvae import DensityDistillation, DensityEstimation
from nfvae.data import DATASETS, DataModule, Toy
from nfvae.flows import DiagonalNormal, FlowDensity, FlowDistribution
from nfvae.plots import density_figure
from nfvae.runs import density_table
from nfvae.training.preparation import prepare_fit
from tests.helpers.flows import ALL, random_flow, small_options
from tests.helpers.sweeps import exhaustive, sweep

QUICK = ["--trainer.max_epochs", 2, "--trainer.enable_model_summary", "false", "--trainer.enable_progress_bar", "false"]
SMALL_DATA = [
    "--data.dataset_options.count",
    2000,
    "--data.dataset",
    "mixture",
    "--model.flow",
    "planar",
    "--model.depth",
    3,
]
MIXTURE_ENTROPY = 1.7858  # of the two-component mixture in nats, by integration on a grid


def trainer(epochs=1, **options):
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    return pl.Trainer(max_epochs=epochs, accelerator="cpu", **quiet | options)


@pytest.mark.parametrize("name", [name for name in DATASETS if issubclass(DATASETS.load(name), Toy)])
def test_toys_are_the_same_draws_in_every_run_and_differ_between_splits(name):
    data, again = (DataModule(name, dataset_options={"count": 500}, seed=seed) for seed in (0, 3))
    for module in (data, again):
        module.setup()
    for split, features in zip(data.splits, [DATASETS.make(name).features] * 3, strict=True):
        assert split.shape[1] == features
        assert split.isfinite().all()
        assert 0.5 < split.std() < 3
    assert torch.equal(data.splits.train, again.splits.train)
    assert not torch.equal(data.splits.val, data.splits.test)


def test_toys_are_what_they_are_called():
    def draw(name):
        return DATASETS.make(name).draw(20_000, torch.Generator().manual_seed(0))

    moons = draw("two_moons")
    assert (moons[moons[:, 1] > 1.2, 0] < 1.5).all()
    assert (moons[moons[:, 1] < -1.2, 0] > -1.5).all()
    angle = torch.atan2(*draw("eight_gaussians").flip(1).unbind(1)) / (2 * torch.pi / 8)
    assert (angle - angle.round()).abs().mean() < 0.1
    assert angle.round().remainder(8).unique().tolist() == list(range(8))
    board = draw("checkerboard")
    squares = (board / 2).floor()
    assert squares.unique(dim=0).shape == (8, 2)
    assert (squares.sum(1) % 2 == 0).all()
    radius = draw("rings").norm(dim=1)
    assert radius.round().unique().tolist() == [1, 2, 3]
    assert (draw("mixture") < 0).float().mean().item() == pytest.approx(0.44, abs=0.02)


@pytest.mark.parametrize("flow", ALL)
def test_every_flow_fits_vectors_and_distils(flow, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {"flow": flow, "depth": 2, "flow_options": small_options(flow)}
    data = DataModule("two_moons", dataset_options={"count": 1000})
    fitted, run = DensityEstimation(**options), trainer(enable_checkpointing=True)
    run.fit(fitted, data)
    path = run.checkpoint_callback.best_model_path
    loaded = DensityEstimation.load_from_checkpoint(path)
    torch.testing.assert_close(loaded.state_dict(), fitted.state_dict())
    fitted.eval()
    student = DensityDistillation(path, **options)
    prepare_fit(student, data)
    with torch.no_grad():
        torch.testing.assert_close(
            student.teacher.model().log_prob(data.splits.val), fitted.model().log_prob(data.splits.val)
        )
    other = trainer(enable_checkpointing=True)
    other.fit(student, data)
    assert other.callback_metrics["val/reverse_kl"].isfinite()
    assert other.callback_metrics["val/nll"].isfinite()
    assert all(parameter.grad is None for parameter in student.teacher.model.parameters())
    saved = torch.load(other.checkpoint_callback.best_model_path, weights_only=True)["state_dict"]
    assert set(saved) == set(fitted.state_dict())


@exhaustive
def test_maximum_likelihood_reaches_the_entropy_and_the_student_its_teacher(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = DataModule("mixture", dataset_options={"count": 20_000}, batch_size=200)
    options = {"flow": "planar", "depth": 6, "shape": [1], "lr": 1e-2, "schedule": "cosine"}
    run = trainer(6, enable_checkpointing=True)
    run.fit(DensityEstimation(**options), data)
    assert run.callback_metrics["val/nll"].item() == pytest.approx(MIXTURE_ENTROPY, abs=0.05)
    student = DensityDistillation(run.checkpoint_callback.best_model_path, **options, warmup_epochs=3)
    taught = trainer(8)
    taught.fit(student, data)
    assert taught.callback_metrics["val/reverse_kl"] < 0.05
    assert taught.callback_metrics["val/nll"].item() == pytest.approx(run.callback_metrics["val/nll"].item(), abs=0.1)


def test_the_teachers_weight_grows_over_the_warm_up(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = DataModule("mixture", dataset_options={"count": 400}, batch_size=100)
    run = trainer(enable_checkpointing=True)
    run.fit(DensityEstimation("planar", 1, shape=[1]), data)
    path = run.checkpoint_callback.best_model_path
    student = DensityDistillation(path, 2, flow="planar", depth=1, shape=[1])
    seen, step = [], student.step_function
    student.step_function = lambda batch: seen.append(student.weight.item()) or step(batch)
    trainer(3).fit(student, data)
    assert seen == pytest.approx([min(1, 0.1 + 0.9 * n / 8) for n in range(12)])
    torch.manual_seed(0)
    loss = student.loss_and_metrics(data.splits.train)[0]
    student.weight.fill_(0.5)
    torch.manual_seed(0)
    z, log_q, _ = student.model().draw((400,))
    half = (log_q - 0.5 * student.teacher.model().log_prob(z)).mean()
    torch.manual_seed(0)
    torch.testing.assert_close(student.loss_and_metrics(data.splits.train)[0], half)
    assert loss != half


@pytest.mark.parametrize("gradient", ["plain", "path"])
def test_the_path_gradient_of_a_student_that_is_its_teacher_is_zero(gradient, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = DataModule("two_moons", dataset_options={"count": 400}, batch_size=100)
    run = trainer(enable_checkpointing=True)
    options = {"flow": "planar", "depth": 3}
    run.fit(DensityEstimation(**options), data)
    student = DensityDistillation(run.checkpoint_callback.best_model_path, **options, gradient=gradient)
    prepare_fit(student, data)
    student.model.load_state_dict(student.teacher.model.state_dict())
    student.loss_and_metrics(data.splits.train)[0].backward()
    largest = max(parameter.grad.abs().max().item() for parameter in student.model.parameters())
    assert largest < 1e-5 if gradient == "path" else largest > 1e-3


def test_the_command_leaves_figure_and_table_of_teacher_and_student(cli):
    code, out, error = cli("fit", "--task", "density", "--name", "teacher", *SMALL_DATA, *QUICK)
    assert code == 0, error
    assert re.search(r"^\| model +\| +[\d.]+ ± [\d.]+ \| +[\d.]+ \|$", out, re.MULTILINE)
    code, out, error = cli("fit", "--task", "distill_density", "--model.teacher", "runs/teacher", *SMALL_DATA, *QUICK)
    assert code == 0, error
    rows = dict(re.findall(r"^\| (teacher|student) +\| +([\d.]+) ", out, re.MULTILINE))
    run = Path("runs/mixture-planar-3-student-seed0")
    assert (run / "density.png").stat().st_size > 10_000
    student = DensityDistillation.load_from_checkpoint(run / "checkpoints/best.ckpt")
    data = DataModule("mixture")
    data.setup()
    with torch.no_grad():
        nll = -student.model().log_prob(data.splits.test).mean().item()
    assert float(rows["student"]) == pytest.approx(nll, abs=1e-3)
    shutil.rmtree("runs/teacher")
    code, out, error = cli("test", run)
    assert code == 0, error
    assert "test/nll" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--data.dataset", "three_moons"],
            "unknown dataset 'three_moons'; known datasets: mnist, ",
        ),
        (["--data.dataset_options.count", "0"], "count must be at least 1; got 0"),
        (["--model.teacher", "runs/none"], "there is no run runs/none"),
        (["--model.teacher", "runs/teacher", "--data.dataset", "rings"], "the teacher has shape [1]; the student [2]"),
        (["--model.schedule", "up"], "unknown schedule 'up'"),
        (
            ["--model.teacher", "runs/teacher", "--model.gradient", "dreg"],
            "unknown distillation gradient 'dreg'; known distillation gradients: plain, path",
        ),
    ],
)
def test_mistakes_get_one_line(arguments, message, cli):
    if "runs/teacher" in arguments:
        assert cli("fit", "--task", "density", "--name", "teacher", *SMALL_DATA, *QUICK)[0] == 0
    task = "distill_density" if "--model.teacher" in arguments else "density"
    code, _, error = cli("fit", "--task", task, *SMALL_DATA, *QUICK, *arguments)
    assert code == 2
    assert error.startswith("nfvae: error: ")
    assert message in error
    assert error.count("\n") == 1


def test_a_teacher_of_another_data_set_of_the_same_size_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = trainer(enable_checkpointing=True)
    run.fit(DensityEstimation("planar", 1), DataModule("rings", dataset_options={"count": 500}))
    student = DensityDistillation(run.checkpoint_callback.best_model_path, flow="planar", depth=1)
    with pytest.raises(
        ValueError, match=r"the teacher .*\.ckpt was trained on rings; the student's data are two_moons"
    ):
        trainer().fit(student, DataModule("two_moons", dataset_options={"count": 500}))


def test_a_density_is_no_vae(cli):
    assert cli("fit", "--task", "density", "--name", "teacher", *SMALL_DATA, *QUICK)[0] == 0
    for command, *words in (["gap"], ["encode", "--input", "x.npy"], ["classify"]):
        code, _, error = cli(command, "runs/teacher", *words)
        assert code == 2, command
        assert error.count("\n") == 1
        assert re.search("density of vectors; expected a VAE|trained without labels", error), error


def test_a_figure_of_three_dimensions_is_refused():
    density = DensityEstimation("planar", shape=[3]).model()
    with pytest.raises(ValueError, match="a density of 3 numbers cannot be drawn"):
        density_figure(torch.randn(10, 3), {"model": density}, side=5)


def test_the_table_names_every_density():
    density = DensityEstimation("planar", 1).model()
    table = density_table({"one": density, "two": density}, torch.randn(100, 2), samples=10).markdown()
    assert [line.split(" | ")[0] for line in table.splitlines()[2:]] == ["| one", "| two"]


DEEP = [("realnvp", 32, {"hidden": 64}), ("iaf", 8, {}), ("coupling", 16, {"univariate": "logistic"}), ("maf", 24, {})]


class FarAway(Toy):
    """Vectors far from zero, one coordinate constant."""

    features = 19

    def draw(self, count, generator):
        vectors = 100 * torch.randn(count, 19, generator=generator) + 300
        vectors[:, 3] = 7.0
        return vectors


@pytest.mark.parametrize(("flow", "depth", "options"), sweep(DEEP, lambda flow, *_: flow == DEEP[0][0]))
def test_deep_flows_begin_on_data_far_from_zero(flow, depth, options, tmp_path):
    module = DensityEstimation(flow, depth, {"hidden": 32, **options}, shape=[19])
    data = DataModule("tests.training.test_density:FarAway", dataset_options={"count": 1000})
    run = trainer(default_root_dir=tmp_path, limit_train_batches=1, enable_checkpointing=True)
    run.fit(module, data)
    gaussian = 18 * (0.5 + math.log(100) + math.log(2 * math.pi) / 2) + math.log(2 * math.pi) / 2
    assert float(run.callback_metrics["val/nll"]) < 1.5 * gaussian  # of a Gaussian that is fitted
    loaded = DensityEstimation.load_from_checkpoint(run.checkpoint_callback.best_model_path).model
    x = data.splits.test[:100]
    torch.testing.assert_close(loaded().log_prob(x), module.model.eval()().log_prob(x))


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_a_standardized_density_is_one_of_the_data_as_they_are(offset):
    density = FlowDensity(random_flow("planar", 2, depth=2, gain=0.5), standardize=True).double()
    data = torch.randn(500, 2).double() * torch.tensor([3.0, 0.1]) + offset
    density.init_from(data)
    density.init_from(data + 1)  # once
    inner = FlowDistribution(DiagonalNormal(density.loc, density.log_scale.exp()), density.flow())
    center, spread = data.mean(0), data.std(0, correction=0)
    expected = inner.log_prob((data - center) / spread) - spread.log().sum()
    torch.testing.assert_close(density().log_prob(data), expected)
    draw = density().draw((1000,))
    torch.testing.assert_close(draw.log_prob, density().log_prob(draw.z), atol=1e-5, rtol=1e-5)


def test_without_standardization_the_message_names_the_cure(tmp_path):
    module = DensityEstimation("realnvp", 32, {"hidden": 64}, standardize=False, shape=[19])
    data = DataModule("tests.training.test_density:FarAway", dataset_options={"count": 1000})
    with pytest.raises(FloatingPointError, match=r"step 0 .*scale the data to mean 0 and deviation 1"):
        trainer(default_root_dir=tmp_path, num_sanity_val_steps=0).fit(module, data)


def test_vectors_of_ones_own_loader_are_standardized_too(tmp_path):
    vectors = 100 * torch.randn(300, 19) + 300
    loader = torch.utils.data.DataLoader(vectors, batch_size=100)
    run = trainer(default_root_dir=tmp_path)
    run.fit(DensityEstimation("realnvp", 32, {"hidden": 64}, shape=[19]), loader, loader)
    assert run.callback_metrics["val/nll"].isfinite()


def test_a_density_is_of_real_numbers(cli):
    code, _, error = cli("fit", "--task", "density", "--data.dataset", "digits", *QUICK)
    assert code == 2
    assert "a density is fitted to vectors of real numbers without missing values; got [8, 8]" in error
