"""FlowVAE under a Lightning Trainer."""

import copy
import inspect

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging

from nfvae import VAE, DataModule, FlowVAE, make_vae
from nfvae.commands.progress import MetricProgressBar
from nfvae.training import TrainingModule
from tests.helpers.flows import ALL
from tests.helpers.sweeps import exhaustive, first
from tests.helpers.training import digits, module, trainer

WIDE = {"hidden": [64]}
STEP = "torch.optim.lr_scheduler:StepLR"


@pytest.mark.parametrize("flow", ALL)
@pytest.mark.parametrize("context", [0, 5])
def test_every_flow_trains_and_its_checkpoint_loads(flow, context, tmp_path):
    fitted, run = module(flow, context=context), trainer(tmp_path, epochs=2)
    before = copy.deepcopy(dict(fitted.model.named_parameters()))
    run.fit(fitted, digits())
    changed = [key for key, value in fitted.model.named_parameters() if not torch.equal(value, before[key])]
    assert changed == list(before)
    loaded = FlowVAE.load_from_checkpoint(run.checkpoint_callback.best_model_path).model
    assert isinstance(loaded, VAE)
    for key, value in loaded.state_dict().items():
        torch.testing.assert_close(value, fitted.model.state_dict()[key])


def test_metrics_are_the_named_ones_and_fit_together(tmp_path):
    run = trainer(tmp_path)
    run.fit(module(), digits())
    for split in ("train", "val"):
        values = {key: run.callback_metrics[f"{split}/{key}"] for key in ("elbo", "reconstruction", "kl", "log_det")}
        torch.testing.assert_close(values["elbo"], values["reconstruction"] - values["kl"])
    assert run.callback_metrics["train/beta"] == 1


def test_validation_metrics_are_means_over_images_not_batches(tmp_path):
    fitted = module("none")
    torch.nn.init.zeros_(fitted.model.decoder.head.weight)
    torch.nn.init.constant_(fitted.model.decoder.head.bias, 1.0)
    data = digits(eval_batch_size=100)  # 256 images: batches of 100, 100 and 56
    metrics = trainer(tmp_path).validate(fitted, data, verbose=False)[0]
    x = data.splits.val.float()
    exact = (x - torch.nn.functional.softplus(torch.ones(()))).sum(-1).mean()
    assert metrics["val/reconstruction"] == pytest.approx(exact.item(), rel=1e-6)


def test_training_beats_the_pixel_means_and_uses_the_latent(tmp_path):
    run = trainer(tmp_path, epochs=30)
    run.fit(
        module("none", latent=8, encoder_options=WIDE, decoder_options=WIDE, lr=3e-3),
        DataModule("digits", batch_size=64),
    )
    assert run.callback_metrics["val/kl"] > 2
    assert run.callback_metrics["val/elbo"] > -26.3  # the pixel means alone reach -27.2


def test_decoder_starts_from_the_training_pixel_means(tmp_path):
    fitted, data = module(), digits()
    trainer(tmp_path, limit_train_batches=0).fit(fitted, data)
    torch.testing.assert_close(
        torch.sigmoid(fitted.model.decoder.head.bias), data.statistics.mean.clamp(1e-3, 1 - 1e-3), atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize(
    "options",
    [
        {"objective": "iwae", "samples": 5},
        {"samples": 3},
        {"objective_options": {"free_bits": 2.0}},
        {"objective_options": {"beta": 0.5}},
        {"objective_options": {"warmup_epochs": 2}},
        {"objective_options": {"beta_schedule": "by_steps"}},
        {"optimizer": "adamax"},
        {"schedule": "cosine"},
        {"schedule": "multistep", "milestones": [1]},
        {"encoder_options": {"activation": "tanh"}, "decoder_options": {"activation": "tanh"}},
    ],
)
def test_every_option_trains(options, tmp_path):
    run = trainer(tmp_path, epochs=2, gradient_clip_val=1.0)
    run.fit(module(**options), digits())
    assert run.callback_metrics["val/elbo"].isfinite()


def test_iwae_logs_the_bound_which_tells_the_best_epoch(tmp_path):
    run, fitted = trainer(tmp_path), module(objective="iwae", samples=20)
    assert (fitted.monitor, fitted.mode) == ("val/iwae", "max")
    run.fit(fitted, digits())
    for split in ("train", "val"):
        assert run.callback_metrics[f"{split}/iwae"] > run.callback_metrics[f"{split}/elbo"]


def test_loss_is_weighted_by_the_beta_in_force(tmp_path):
    """With β = 0 at the start of a warm-up, the loss is the reconstruction alone."""
    fitted = module(objective_options={"warmup_epochs": 2})
    seen = []
    original = fitted.loss_and_metrics

    def spy(x):
        loss, metrics = original(x)
        seen.append((fitted.objective.beta.item(), loss.item(), metrics))
        return loss, metrics

    fitted.step_function = spy
    trainer(tmp_path, epochs=3).fit(fitted, digits())
    betas = [beta for beta, _, _ in seen]
    assert betas == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9] + [1.0] * 5)
    for beta, loss, metrics in seen:
        assert loss == pytest.approx((-metrics["reconstruction"] + beta * metrics["kl"]).item(), rel=1e-5)


def test_learning_rates_follow_their_schedules(tmp_path):
    def rates(**options):
        class Record(pl.Callback):
            def __init__(self):
                self.rates = []

            def on_train_epoch_start(self, trainer, pl_module):
                self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

        record = Record()
        trainer(tmp_path, epochs=4, callbacks=[record]).fit(module(lr=0.01, **options), digits())
        return record.rates

    assert rates() == pytest.approx([0.01] * 4)
    assert rates(schedule="multistep", milestones=[1, 3]) == pytest.approx([0.01, 0.001, 0.001, 0.0001])
    half = 0.5**0.5 / 2
    assert rates(schedule="cosine") == pytest.approx([0.01, 0.01 * (0.5 + half), 0.005, 0.01 * (0.5 - half)])
    fifth = {"gamma": 0.2}
    assert rates(schedule="multistep", milestones=[2], schedule_options=fifth) == pytest.approx(
        [0.01] * 2 + [0.002] * 2
    )
    every_other = {"step_size": 2, **fifth}
    steps = rates(schedule=STEP, schedule_options=every_other)
    assert steps == pytest.approx([0.01] * 2 + [0.002] * 2)


def test_the_same_seed_gives_the_same_metrics_and_another_seed_does_not(tmp_path):
    def metrics(seed):
        pl.seed_everything(seed, verbose=False)
        run = trainer(tmp_path, epochs=2)
        run.fit(module("iaf"), digits(seed=seed))
        return run.callback_metrics["val/elbo"].item(), run.callback_metrics["train/elbo"].item()

    assert metrics(1) == metrics(1)
    assert metrics(1) != metrics(2)


def test_a_resumed_run_ends_as_the_uninterrupted_one(tmp_path):
    pl.seed_everything(5, verbose=False)
    whole = trainer(tmp_path / "whole", epochs=4)
    start = module(schedule="cosine")
    twin = copy.deepcopy(start)
    whole.fit(start, digits())

    pl.seed_everything(5, verbose=False)
    keep = pl.callbacks.ModelCheckpoint(tmp_path / "half", save_last=True, save_on_train_epoch_end=True)

    class Stop(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.current_epoch == 2 and batch_idx == 3:
                raise InterruptedError

    with pytest.raises(InterruptedError):
        trainer(tmp_path, epochs=4, callbacks=[keep, Stop()]).fit(twin, digits())
    torch.manual_seed(99)
    resumed = trainer(tmp_path, epochs=4, callbacks=[keep])
    resumed.fit(module(schedule="cosine"), digits(), ckpt_path=tmp_path / "half" / "last.ckpt")
    assert resumed.global_step == whole.global_step == 20
    for key in ("val/elbo", "train/elbo", "train/kl"):
        assert resumed.callback_metrics[key].item() == whole.callback_metrics[key].item()


@pytest.mark.parametrize(
    ("spoil", "names"),
    [
        (lambda model: model.decoder.head.bias.data.fill_(torch.inf), "elbo, reconstruction"),
        (lambda model: model.posterior.flow.head.bias.data.fill_(torch.nan), "elbo, reconstruction, kl, log_det"),
    ],
)
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(spoil, names, tmp_path):
    class Spoil(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.global_step == 7:
                spoil(pl_module.model)

    keep = pl.callbacks.ModelCheckpoint(tmp_path, save_last=True, save_on_train_epoch_end=True)
    with pytest.raises(FloatingPointError, match=f"not finite in step 7 of training; not finite: {names}$"):
        trainer(tmp_path, epochs=4, callbacks=[keep, Spoil()]).fit(module(), digits())
    good = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert good["global_step"] == 5
    assert all(value.isfinite().all() for value in good["state_dict"].values())


def test_weights_that_are_not_finite_after_the_last_step_of_an_epoch_reach_no_checkpoint(tmp_path):
    class Spoil(pl.Callback):
        def on_validation_start(self, trainer, pl_module):
            if trainer.global_step:
                pl_module.model.decoder.head.bias.data.fill_(torch.nan)

    keep = pl.callbacks.ModelCheckpoint(tmp_path, save_last=True, save_on_train_epoch_end=True)
    with pytest.raises(FloatingPointError, match="not finite in the val set after step 5; not finite: elbo"):
        trainer(tmp_path, epochs=4, callbacks=[keep, Spoil()]).fit(module(), digits())
    assert not list(tmp_path.glob("*.ckpt"))


def test_lightnings_own_moving_average_of_the_weights_works(tmp_path):
    average = EMAWeightAveraging(decay=0.5)
    run = trainer(tmp_path, epochs=2, callbacks=[average])
    fitted = module()
    run.fit(fitted, digits())
    loaded = FlowVAE.load_from_checkpoint(run.checkpoint_callback.best_model_path)
    for key, value in loaded.state_dict().items():
        torch.testing.assert_close(value, fitted.state_dict()[key])


@pytest.mark.parametrize("flow", first(["planar", "iaf", "radial"]))
def test_compiled_step_is_the_same_step(flow):
    fitted, x = module(flow), torch.bernoulli(torch.full((8, 64), 0.3))
    compiled = torch.compile(fitted.loss_and_metrics, fullgraph=True, backend="aot_eager")
    results = []
    for function in (fitted.loss_and_metrics, compiled):
        torch.manual_seed(0)
        fitted.zero_grad()
        loss, metrics = function(x)
        loss.backward()
        results.append((loss.item(), metrics, fitted.model.posterior.encoder.head.weight.grad.clone()))
    torch.testing.assert_close(*results)


def test_compile_is_one_setting(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda function: compiled.append(function) or function)
    trainer(tmp_path).fit(module(), digits())
    assert not compiled
    trainer(tmp_path).fit(module(compile=True), digits())
    assert len(compiled) == 1


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path):
    run = trainer(tmp_path)
    run.fit(module(), digits())
    path = run.checkpoint_callback.best_model_path
    with pytest.raises(ValueError, match=r"^the checkpoint has latent 4 where the model has 6$"):
        trainer(tmp_path).fit(module(latent=6), digits(), ckpt_path=path)


def test_data_of_another_size_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"the model expects shape \[28, 28\]; the data have \[8, 8\]"):
        trainer(tmp_path).fit(module(shape=[28, 28]), digits())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flow": "plannar"}, "unknown flow 'plannar'"),
        ({"depth": -1}, "a flow's depth must be at least 1; got -1"),
        (
            {"flow": "iaf", "latent": 0},
            "a flow's features must be at least 1; got 0|latent must be at least 1; got 0",
        ),
        ({"samples": 0}, "samples must be at least 1; got 0"),
        ({"objective": "elb"}, "unknown objective 'elb'; known objectives: elbo, iwae"),
        ({"optimizer": "sgd"}, "unknown optimizer 'sgd'; known optimizers: adam, adamax"),
        (
            {"schedule": "step"},
            "unknown schedule 'step'; known schedules: constant, cosine, multistep, or package.module",
        ),
        ({"schedule": "torch.optim.lr_scheduler.StepLR"}, "or package.module:Class"),
        ({"schedule": "cosine", "schedule_options": {"gamma": 1}}, "unknown option 'gamma' of schedule 'cosine'"),
        (
            {"schedule": STEP, "schedule_options": {"gama": 1}},
            "unknown option 'gama' of schedule 'torch.*: step_size, ",
        ),
        ({"schedule": STEP}, "cannot build schedule 'torch.*step_size"),
        ({"schedule": STEP, "schedule_options": {"step_size": 0}}, "schedule 'torch.*StepLR' fails: .*zero"),
        ({"schedule": STEP.replace("Step", "Steps")}, "cannot import schedule 'torch.*StepsLR'"),
        ({"schedule": "torch.optim:SGD"}, "is not a subclass of torch.optim.lr_scheduler.LRScheduler"),
        ({"schedule": STEP.replace("StepLR", "ReduceLROnPlateau")}, "fails: .*metrics"),
        ({"objective_options": {"beta_schedule": "up"}}, "unknown beta schedule 'up'"),
        ({"objective_options": {"beta_schedule": "by_steps", "warmup_epochs": 2}}, "counts steps, not warmup_epochs"),
        ({"schedule": "multistep"}, "needs milestones"),
        (
            {"objective": "iwae", "objective_options": {"beta": 0.5}},
            "unknown option 'beta' of objective 'iwae'; known options: none",
        ),
        ({"encoder_options": {"hidden": []}}, "hidden takes the widths of the layers"),
        ({"decoder_options": {"activation": "rleu"}}, "unknown activation 'rleu'"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        module(**options)


def test_progress_bar_shows_the_elbo(tmp_path):
    bar = MetricProgressBar()
    shown = []
    original = bar.get_metrics
    bar.get_metrics = lambda *arguments: shown.append(original(*arguments)) or shown[-1]
    trainer(tmp_path, callbacks=[bar], enable_progress_bar=True).fit(module(), digits())
    assert {"elbo", "val"} == set(shown[-1])


@exhaustive
def test_two_processes_train_and_validate_each_on_their_shard(tmp_path):
    run = trainer(tmp_path, devices=2, strategy="ddp_spawn")
    run.fit(module(), digits())
    saved = torch.load(run.checkpoint_callback.best_model_path, weights_only=True)
    assert saved["global_step"] == 2  # 1,285 // 2 // 256
    assert run.callback_metrics["val/elbo"].isfinite()


def test_the_settings_of_a_vae_are_those_of_make_vae():
    """The command line reads them from the training module, Python from `make_vae`: one list, in two signatures."""
    plain = inspect.signature(make_vae).parameters
    trained = {**inspect.signature(TrainingModule).parameters, **inspect.signature(FlowVAE).parameters}
    for name, parameter in plain.items():
        default = trained[name].default
        assert (tuple(default) if isinstance(default, list) else default) == parameter.default, name
