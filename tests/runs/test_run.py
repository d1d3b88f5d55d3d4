"""A run's folder, name and checkpoint; that every command takes a folder, a checkpoint, or a plain Lightning run."""

import re
import shutil
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from nfvae import DataModule, FlowVAE
from nfvae.models import VAE
from nfvae.runs import Run, RunFolder, experiment_name, run_name
from tests.commands.test_fit import assert_one_line, curve
from tests.helpers.checkpoints import changed

NARROW = {"encoder_options": {"hidden": [16]}, "decoder_options": {"hidden": [16]}}
RUN = Path("runs/digits-iaf-4-seed0")
TANH = {role: value for name in ("encoder", "decoder")
        for role, value in ((name, "mlp"), (f"{name}_options", {"activation": "tanh"}))}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"flow": "iaf", "depth": 4}, "digits-iaf-4"),
        ({"flow": "my.module:NiceFlow", "depth": 2}, "digits-niceflow-2"),
        ({"flow": "iaf", "depth": 2, "teacher": "runs/t", "target": "joint"}, "digits-iaf-2-joint"),
        ({"flow": "iaf", "depth": 2, "teacher": "runs/t"}, "digits-iaf-2-student"),
        ({"flow": "iaf", "depth": 2, "encoder": "gated", "decoder": "gated"}, "digits-gated-iaf-2"),
        ({"flow": "iaf", "depth": 2, "encoder": "mlp", "decoder": "gated"}, "digits-mlp-gated-iaf-2"),
        ({"flow": "iaf", "depth": 2, "encoder": "gated", "decoder": "mlp"}, "digits-gated-mlp-iaf-2"),
        ({"flow": "iaf", "depth": 2, "encoder": "mlp", "decoder": "mlp"}, "digits-iaf-2"),
        ({**TANH, "flow": "iaf", "depth": 2}, "digits-tanh-iaf-2"),
        ({"flow": "none", "depth": 1, "prior": "flow"}, "digits-none-1-flowprior"),
        ({"flow": "none", "depth": 1, "prior": "my.module:Sphere"}, "digits-none-1-sphereprior"),
        ({"flow": "none", "depth": 1, "objective": "iwae", "gradient": "dreg"}, "digits-none-1-iwae-dreg"),
        ({"flow": "none", "depth": 1, "prior": "normal", "objective": "elbo", "gradient": "plain"}, "digits-none-1"),
    ],
)
def test_a_name_says_what_was_trained(model, expected):
    settings = {"model": model, "data": {"dataset": "digits"}, "seed_everything": 3}
    assert experiment_name(settings) == expected
    assert run_name(settings) == f"{expected}-seed3"
    assert run_name(settings | {"name": "mine"}) == "mine"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"dataset": "mnist", "binarization": "static"}, "mnist-static"),
        ({"dataset": "mnist", "binarization": "dynamic", "root": "data"}, "mnist"),
        ({"dataset": "arrays", "root": "data/My letters.npz"}, "my-letters"),
        ({"dataset": "folder", "root": "pictures/"}, "pictures"),
        ({"dataset": "folder", "root": None}, "folder"),
        ({"dataset": "folder", "root": ".."}, "folder"),
        ({"dataset": "letters:Letters", "root": "data"}, "letters"),
    ],
)
def test_a_name_says_what_it_was_trained_on(data, expected):
    assert experiment_name({"model": {"flow": "none", "depth": 1}, "data": data}) == f"{expected}-none-1"


@pytest.fixture
def plain(workdir):
    """The checkpoint of a training from Python, under Lightning's own names."""
    module = FlowVAE("planar", 2, latent=3, context=4, shape=[8, 8], test_samples=10, **NARROW)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(max_epochs=1, default_root_dir=workdir, **quiet)
    trainer.fit(module, DataModule("digits", batch_size=256))
    return Path(trainer.checkpoint_callback.best_model_path), module.model


def test_a_plain_lightning_run_gives_its_model_and_data(plain):
    path, model = plain
    for given in (path, path.parent.parent):
        run = Run(given)
        loaded = run.vae()
        assert isinstance(loaded, VAE)
        assert not loaded.training
        assert run.task == "vae"
        for key, value in model.state_dict().items():
            torch.testing.assert_close(loaded.state_dict()[key], value, rtol=0, atol=0)
        assert run.data().rows("test").shape == (256, 64)


def test_every_command_takes_a_plain_lightning_checkpoint_or_its_folder(plain, cli):
    path, _ = plain
    for given in (path, path.parent.parent):
        for command in (
            ["evaluate", given, "--samples", 20],
            ["compare", given, "--samples", 20],
            ["sample", given],
            ["plot", "samples", given],
            ["test", given],
            ["validate", "--ckpt_path", given],
            ["predict", given],
            ["fit", "--ckpt_path", given, "--trainer.max_epochs", 2, "--name", "on", "--overwrite", "true"],
        ):
            code, _, error = cli(*command)
            assert code == 0, (command, error)
    assert torch.load(path.parent.parent.parent / "on/checkpoints/last.ckpt", weights_only=True)["epoch"] == 1


def test_every_command_takes_a_checkpoint_of_ours(fit, cli):
    assert fit()[0] == 0
    best = RUN / "checkpoints/best.ckpt"
    for command in (
        ["evaluate", best, "--samples", 20],
        ["compare", best, "--samples", 20],
        ["sample", best, "--count", 4],
        ["plot", "traversal", best],
        ["predict", best],
    ):
        code, _, error = cli(*command)
        assert code == 0, (command, error)
    written = {path.name for path in RUN.iterdir()}
    assert {"evaluation-test-importance-20.json", "plots", "latents.pt"} <= written
    assert {path.name for path in (RUN / "plots").iterdir()} == {"samples-4.png", "traversal.png"}
    code, _, error = cli("fit", "--ckpt_path", RUN, "--trainer.max_epochs", 3)
    assert code == 0, error
    assert [epoch for epoch, _ in curve(RUN, "val/elbo")] == [0, 1, 2]


def test_a_run_that_was_moved_goes_on_where_it_lies(fit, cli):
    assert fit()[0] == 0
    shutil.move(RUN, "elsewhere")
    code, out, error = cli("fit", "--ckpt_path", "elsewhere", "--trainer.max_epochs", 3)
    assert code == 0, error
    assert "elsewhere/checkpoints/best.ckpt" in out
    assert [epoch for epoch, _ in curve(Path("elsewhere"), "val/elbo")] == [0, 1, 2]
    assert not RUN.exists()


def test_several_foreign_checkpoints_are_not_guessed_among(plain):
    path, _ = plain
    shutil.copy(path, path.with_name("other.ckpt"))
    with pytest.raises(ValueError, match=r"has several checkpoints; name one of .*epoch=0-step=5.ckpt, .*other.ckpt"):
        Run(path.parent.parent)


def test_our_last_checkpoint_does_not_stand_for_the_best(plain):
    path, _ = plain
    path.rename(path.with_name("last.ckpt"))
    with pytest.raises(FileNotFoundError, match=r"has no best\.ckpt, which a validation makes; name .*last\.ckpt"):
        Run(path.parent.parent)
    assert Run(path.parent.parent, last=True).path.name == "last.ckpt"


def test_weights_that_do_not_fit_their_settings_get_one_line(plain, cli):
    path, _ = plain
    with changed(path) as saved:
        saved["hyper_parameters"]["latent"] = 5
    assert_one_line(*cli("sample", path)[::2], "its weights do not fit its settings")


def test_a_checkpoint_without_its_data_says_so(plain, cli):
    path, _ = plain
    with changed(path) as saved:
        del saved["datamodule_hyper_parameters"]
    assert_one_line(*cli("evaluate", path)[::2], "was not trained on DataModule: its data are unknown here")


def test_a_damaged_config_gets_one_line(fit, cli):
    assert fit()[0] == 0
    for content in ("model: [", "- 1", "\x00"):
        (RUN / "config.yaml").write_text(content)
        assert_one_line(*cli("fit", "--ckpt_path", RUN)[::2], re.escape(f"{RUN}/config.yaml"))


def test_paths_are_spelled_in_one_place():
    folder = RunFolder("runs/x")
    assert folder.next_replaced() == Path("runs/.x.replaced")
    for checkpoint in (folder.best, Path("runs/x/y.ckpt")):
        assert RunFolder.of_checkpoint(checkpoint).path == folder.path
    package = Path(RunFolder.__module__.replace(".", "/")).parts[0]
    owners = [
        path.name
        for path in (Path(__file__).parents[2] / package).rglob("*.py")
        if re.search(r'"checkpoints"|best\.ckpt"|last\.ckpt"|"config\.yaml"|"metrics\.csv"', path.read_text())
    ]
    assert owners == ["folder.py"]
