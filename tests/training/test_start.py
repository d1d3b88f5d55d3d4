"""Trainings that begin with the weights of another run."""

import shutil
from pathlib import Path

import pytest
import torch

from nfvae import FlowVAE, Run
from tests.helpers.training import digits, module, trainer

OLD = Path("runs/old")


@pytest.fixture
def old(fit):
    """A run of two epochs."""
    assert fit("--name", "old")[0] == 0
    return OLD


def weights(run):
    return Run(run).vae().state_dict()


def test_the_first_weights_are_the_other_runs_and_training_goes_on(old, fit):
    standing = ["--model.lr", 1e-30, "--model.start", old]  # a rate that moves nothing
    assert fit("--name", "same", *standing, "--trainer.max_epochs", 1)[0] == 0
    torch.testing.assert_close(weights("runs/same"), weights(old), rtol=0, atol=0)
    assert fit("--name", "further", "--model.start", old, "--trainer.max_epochs", 1)[0] == 0
    first, further = (Run(f"runs/{name}").folder.history() for name in ("old", "further"))
    assert further[0]["train/elbo"] > first[1]["train/elbo"] > first[0]["train/elbo"]
    assert (further[0]["epoch"], further[0]["step"]) == (first[0]["epoch"], first[0]["step"])


def test_it_may_have_been_exported(old, cli, fit):
    assert cli("export", old, "--to", "small", "--weights", "half")[0] == 0
    arguments = ["--model.start", "small/old", "--model.lr", 1e-30, "--trainer.max_epochs", 1]
    assert fit("--name", "same", *arguments)[0] == 0
    torch.testing.assert_close(weights("runs/same"), weights("small/old"), rtol=0, atol=0)


def test_a_resumed_run_does_not_ask_for_it_again(old, cli, fit):
    assert fit("--name", "new", "--model.start", old, "--trainer.max_epochs", 1)[0] == 0
    code, _, error = cli("fit", "--ckpt_path", "runs/new", "--model.start", "runs/nope", "--trainer.max_epochs", 2)
    assert code == 2
    assert f"a resumed training keeps its model.start, {old}; got runs/nope" in error
    shutil.rmtree(old)
    assert cli("fit", "--ckpt_path", "runs/new", "--trainer.max_epochs", 2)[0] == 0
    assert [row["epoch"] for row in Run("runs/new").folder.history()] == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.start", "runs/none"], "there is no run runs/none"),
        (
            ["--model.start", OLD, "--model.latent", 7],
            "model.start: runs/old/checkpoints/best.ckpt has latent 16 where the model has 7",
        ),
        (["--model.start", OLD, "--name", "old", "--overwrite", "true"], "the place of its own model.start"),
        (["--model.start", "small/old"], "small/old/checkpoints/best.ckpt was exported without its weights"),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(arguments, message, old, cli, fit):
    assert cli("export", old, "--to", "small", "--weights", "none")[0] == 0
    code, _, error = fit("--name", "new", *arguments)
    assert (code, error.count("\n")) == (2, 1)
    assert message in error
    assert list(Path("runs").iterdir()) == [old]


def test_another_kind_of_model_is_refused(old, cli):
    words = ["--task", "density", "--data.dataset", "two_moons", "--model.start", old, "--name", "new"]
    code, _, error = cli("fit", *words)
    assert (code, error.count("\n")) == (2, 1)
    assert "model.start: runs/old/checkpoints/best.ckpt holds a vae; this trains a density" in error


def test_a_student_keeps_its_teachers_decoder(old, fit, cli):
    teach = ["--task", "distill", "--model.teacher", old, "--model.target", "joint", "--data.dataset", "digits"]
    own = [*("--model.flow", "planar", "--model.depth", 4), "--model.encoder_options.hidden", "[128, 128]"]
    assert fit("--name", "other", "--model.lr", 0.01, *own)[0] == 0
    once = ["--name", "student", "--trainer.max_epochs", 1, "--model.start", "runs/other"]
    assert cli("fit", *teach, *own, "--model.context", 32, *once)[0] == 0
    student, teacher, other = (weights(f"runs/{name}") for name in ("student", "old", "other"))
    name = "decoder.head.bias"
    assert torch.equal(student[name], teacher[name])
    assert not torch.equal(student[name], other[name])


def test_from_python(tmp_path):
    first = trainer(tmp_path / "first")
    first.fit(module(), digits())
    fitted = module(start=first.checkpoint_callback.best_model_path)
    trainer(tmp_path / "second", limit_train_batches=0).fit(fitted, digits())
    torch.testing.assert_close(
        fitted.model.state_dict(), FlowVAE.load_from_checkpoint(fitted.hparams["start"]).model.state_dict()
    )
