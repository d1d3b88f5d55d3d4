"""PosteriorDistillation: what learns, what stays, what a checkpoint holds."""

import json
import shutil
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from nfvae import VAE, DataModule, FlowVAE, PosteriorDistillation
from nfvae.estimators import log_likelihood, reverse_kl
from nfvae.models.posterior import POSTERIOR
from nfvae.runs import Run
from nfvae.training.preparation import prepare_fit
from tests.helpers.checkpoints import changed
from tests.helpers.flows import small_options
from tests.helpers.sweeps import first

TEACHER = Path("runs/teacher")
TARGETS = [("posterior", ("val/reverse_kl", "min")), ("joint", ("val/elbo", "max"))]
NARROW = {"encoder_options": {"hidden": [16]}}


def both(option, value):
    """An option of encoder and decoder."""
    return [f"--model.encoder_options.{option}", value, f"--model.decoder_options.{option}", value]


SIZES = ["--model.latent", 4, "--model.context", 5, *both("hidden", "[24]")]
QUICK = ["--trainer.max_epochs", 2, "--trainer.enable_model_summary", "false", "--trainer.enable_progress_bar", "false"]
DIGITS = ["--data.dataset", "digits", "--data.batch_size", 256]
STUDENT = ["--task", "distill", "--model.teacher", TEACHER, *DIGITS, *QUICK, "--model.samples", 2]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a teacher's run."""
    folder = tmp_path_factory.mktemp("teacher")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        from nfvae.__main__ import main

        options = [
            "--name",
            "teacher",
            "--model.flow",
            "maf",
            "--model.depth",
            2,
            *both("activation", "tanh"),
        ]
        arguments = [
            "fit",
            *options,
            "--model.flow_options",
            json.dumps(small_options("maf") | {"univariate": "affine"}),
            *SIZES,
            *DIGITS,
            *QUICK,
        ]
        assert main([str(argument) for argument in arguments]) == 0
    return folder


@pytest.fixture
def teacher(trained, cli):
    """The same run in the current folder."""
    shutil.copytree(trained / "runs", "runs")
    return FlowVAE.load_from_checkpoint(TEACHER / "checkpoints/best.ckpt")


def distil(teacher, **options):
    small = {"flow": "planar", "depth": 2, "context": 5, "samples": 3, **NARROW}
    module = PosteriorDistillation(TEACHER, **small | options)
    data = DataModule("digits", batch_size=256)
    trainer = pl.Trainer(max_epochs=3, logger=False, enable_progress_bar=False, enable_model_summary=False)
    trainer.fit(module, data)
    return module, trainer, data


def test_the_posterior_loss_is_the_reverse_kl_to_the_teachers_posterior(teacher):
    module, x = PosteriorDistillation(TEACHER, flow="planar", depth=2), torch.bernoulli(torch.full((6, 64), 0.4))
    torch.manual_seed(1)
    loss, metrics = module.loss_and_metrics(x)
    torch.manual_seed(1)
    expected = reverse_kl(module.model.posterior(x), teacher.model.posterior(x).log_prob, 4).mean()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(metrics["reverse_kl"], expected)


def test_the_joint_loss_is_the_reverse_kl_to_the_teachers_joint_density(teacher):
    module = PosteriorDistillation(TEACHER, "joint", flow="planar", depth=2)
    x, model = torch.bernoulli(torch.full((6, 64), 0.4)), teacher.model
    torch.manual_seed(1)
    loss, _ = module.loss_and_metrics(x)
    torch.manual_seed(1)
    joint = lambda z: model.decode(z).log_prob(x) + model.prior().log_prob(z)  # noqa: E731
    torch.testing.assert_close(loss, reverse_kl(module.model.posterior(x), joint, 4).mean())


@pytest.mark.parametrize(
    ("target", "monitored"), [("posterior", ("val/reverse_kl", "min")), ("joint", ("val/elbo", "max"))]
)
def test_the_student_learns_and_the_teacher_stays(target, monitored, teacher):
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    start = PosteriorDistillation(TEACHER, target, flow="planar", depth=2, context=5, **NARROW)
    first = {key: value.clone() for key, value in start.model.posterior.state_dict().items()}
    module, trainer, _ = distil(teacher, target=target)
    decoder = {f"model.decoder.{key}": value for key, value in module.model.decoder.state_dict().items()}
    for key, value in decoder.items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)
    for key, value in module.teacher.model.posterior.state_dict().items():
        torch.testing.assert_close(value, before[f"model.posterior.{key}"], rtol=0, atol=0)
    assert all(not torch.equal(value, first[key]) for key, value in module.model.posterior.state_dict().items())
    assert all(parameter.grad is None for parameter in module.teacher.model.parameters())
    assert all(parameter.grad is None for parameter in module.model.decoder.parameters())
    assert not module.model.decoder.training
    assert not module.teacher.model.training
    assert (module.monitor, module.mode) == monitored
    assert trainer.callback_metrics[monitored[0]].isfinite()
    assert trainer.callback_metrics["val/elbo"].isfinite()


def test_the_divergence_falls(teacher):
    module, _, data = distil(teacher, lr=5e-3)
    x = data.splits.val.float()
    fresh = PosteriorDistillation(TEACHER, flow="planar", depth=2, context=5, **NARROW, samples=20)
    with torch.no_grad():
        assert module.divergence(x) < 0.5 * fresh.divergence(x)


@pytest.mark.parametrize("target", first(["posterior", "joint"]))
def test_the_checkpoint_stands_alone_and_is_evaluated_as_any_run(target, teacher, cli):
    code, _, error = cli(
        "fit", *STUDENT, "--model.target", target, "--name", "student", "--model.encoder_options.hidden", "[16]"
    )
    assert code == 0, error
    decoder = teacher.model.decoder.state_dict()
    shutil.rmtree(TEACHER)
    run = Run(Path("runs/student"))
    assert len([key for key in run.checkpoint["state_dict"] if "decoder" in key]) == len(decoder)
    assert {key.split(".")[1] for key in run.checkpoint["state_dict"]} == {"posterior", "decoder"}
    model = run.vae()
    for key, value in model.decoder.state_dict().items():
        torch.testing.assert_close(value, decoder[key], rtol=0, atol=0)
    for command in (["evaluate", "--samples", 50, "--limit", 20], ["sample"], ["test"]):
        code, _, error = cli(command[0], "runs/student", *command[1:])
        assert code == 0, error
    summary = json.loads(Path("runs/student/evaluation-test-importance-50-first20.json").read_text())
    x = run.data().rows("test")[:20].float()
    taught = teacher.model
    vae = VAE(model.posterior, taught.decoder, taught.prior, taught.likelihood)
    by_hand = log_likelihood(vae, x, 50, proposal="mixture")
    assert summary["nll"] == pytest.approx(-by_hand.log_likelihood.mean().item(), abs=1e-5)
    assert summary["elbo"] == pytest.approx(by_hand.elbo.mean().item(), abs=1e-5)


@pytest.mark.parametrize("gradient", ["plain", "path"])
def test_the_path_gradient_of_a_student_that_is_its_teacher_is_zero(gradient, teacher):
    settings = {name: teacher.hparams[name] for name in POSTERIOR if name not in PosteriorDistillation.from_teacher}
    module = PosteriorDistillation(TEACHER, **settings, gradient=gradient)
    module.model.posterior.load_state_dict(module.teacher.model.posterior.state_dict())
    module.loss_and_metrics(torch.bernoulli(torch.full((20, 64), 0.4)))[0].backward()
    largest = max(parameter.grad.abs().max().item() for parameter in module.model.posterior.parameters())
    assert largest < 1e-4 if gradient == "path" else largest > 1e-2


@pytest.mark.parametrize("flow", first([True, False]))
def test_a_student_keeps_the_vampprior_of_its_teacher(flow, cli):
    vamp = ["--model.prior", "vamp", "--model.prior_options", json.dumps({"components": 5, "flow": flow})]
    own = ["--model.flow", "planar", "--model.depth", 2, *SIZES, *DIGITS, *QUICK]
    assert cli("fit", "--name", "teacher", *vamp, *own)[0] == 0
    code, _, error = cli("fit", *STUDENT, "--name", "student", "--model.depth", 1)
    assert code == 0, error
    z = torch.randn(7, 4)
    expected = Run(TEACHER).vae().prior().log_prob(z)
    shutil.rmtree(TEACHER)
    torch.testing.assert_close(Run(Path("runs/student")).vae().prior().log_prob(z), expected, rtol=0, atol=0)
    for command in (
        ["evaluate", "--estimator", "annealed", "--limit", 5, "--chains", 2, "--temperatures", 4],
        ["sample"],
    ):
        code, _, error = cli(command[0], "runs/student", *command[1:])
        assert code == 0, error


def test_a_resumed_student_goes_on(teacher, cli):
    assert cli("fit", *STUDENT, "--name", "student")[0] == 0
    last = "runs/student/checkpoints/last.ckpt"
    code, _, error = cli("fit", "--ckpt_path", last, "--trainer.max_epochs", 3)
    assert code == 0, error
    assert torch.load(last, weights_only=True)["epoch"] == 2


def test_a_student_goes_on_with_the_teacher_that_it_began_with(teacher, cli):
    assert cli("fit", *STUDENT, "--name", "student")[0] == 0
    with changed(TEACHER / "checkpoints/best.ckpt") as checkpoint:
        for weights in checkpoint["state_dict"].values():
            weights.mul_(1.1)
    code, _, error = cli("fit", "--ckpt_path", "runs/student", "--trainer.max_epochs", 3)
    assert code == 2
    assert error == f"nfvae: error: the teacher, {TEACHER}, is not the one that the training began with\n"


def test_runs_are_named_by_their_target(teacher, cli):
    assert cli("fit", *STUDENT, "--model.target", "joint", "--model.depth", 1)[0] == 0
    assert Path("runs/digits-iaf-1-joint-seed0/reconstructions.png").is_file()


FIRST = (
    "a teacher is trained first, as nfvae fit -c configs/distill/teacher.yaml; --model.teacher names one that has moved"
)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.teacher", "runs/none"], f"there is no run runs/none; {FIRST}"),
        (["--model.teacher", "none.ckpt"], f"there is no checkpoint none.ckpt; {FIRST}"),
        (
            ["--model.target", "prior"],
            "unknown target 'prior'; known targets: posterior, joint; did you mean posterior?",
        ),
        (["--model.samples", "0"], "samples must be at least 1; got 0"),
        (
            ["--model.gradient", "reinforce"],
            "unknown distillation gradient 'reinforce'; known distillation gradients: plain, path",
        ),
        (["--data.dataset", "mnist"], "the model expects shape [8, 8]; the data have [28, 28]"),
        (
            ["--task", "distil"],
            "unknown task 'distil'; known tasks: vae, distill, density, energy, distill_density, "
            "or package.module:Class; did you mean distill?",
        ),
    ],
)
def test_mistakes_get_one_line(arguments, message, teacher, cli, mnist_root):
    code, _, error = cli("fit", *STUDENT, "--data.root", mnist_root, *arguments)
    assert (code, error) == (2, f"nfvae: error: {message}\n")
    assert sorted(Path("runs").iterdir()) == [TEACHER]


def test_a_run_does_not_take_the_place_of_its_teacher(teacher, cli):
    code, _, error = cli("fit", *STUDENT, "--name", "teacher", "--overwrite", "true")
    assert (code, error.count("\n")) == (2, 1)
    assert "run runs/teacher would take the place of its own model.teacher" in error
    Run(TEACHER)


def test_a_teacher_of_another_data_set_of_the_same_size_is_refused(teacher):
    class Other(DataModule):
        def __init__(self):
            super().__init__("digits")
            self.hparams["dataset"] = "other_digits"

    with pytest.raises(
        ValueError, match="the teacher runs/teacher was trained on digits; the student's data are other_"
    ):
        prepare_fit(PosteriorDistillation(TEACHER), Other())


def test_gradients_are_clipped_unless_the_trainer_says_otherwise(teacher, monkeypatch):
    limits = []
    monkeypatch.setattr(
        PosteriorDistillation, "clip_gradients", lambda self, o, limit, how: limits.append((limit, how))
    )
    for options in ({}, {"gradient_clip_val": 0.5, "gradient_clip_algorithm": "value"}):
        trainer = pl.Trainer(
            max_steps=1, logger=False, enable_progress_bar=False, enable_checkpointing=False, **options
        )
        trainer.fit(PosteriorDistillation(TEACHER, depth=1), DataModule("digits"))
    assert limits == [(10.0, "norm"), (0.5, "value")]
