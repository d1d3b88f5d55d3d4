"""Two processes against one: the same means, the same predictions, the same likelihoods, however uneven the shards."""

import pytest
import torch
from torch import nn

from nfvae import DataModule
from nfvae.commands.test import _Latents
from nfvae.estimators import annealed_log_likelihood, log_likelihood
from nfvae.runs.estimators import Images
from nfvae.runs.estimators.annealed import Annealed
from nfvae.runs.estimators.importance import Importance
from nfvae.runs.evaluation import LikelihoodChunks
from nfvae.training.means import Means
from tests.helpers.sweeps import first
from tests.helpers.training import digits, module, trainer

TWO = {"devices": 2, "strategy": "ddp_fork"}
SIZES = [7, 2, 5, 1001]


def images(count):
    drawn = torch.rand(count + 20, 8, 8, generator=torch.Generator().manual_seed(0)).round()
    return DataModule.from_tensors(drawn[:20], drawn[:count], drawn[-count:], eval_batch_size=100)


def deterministic():
    """A module whose reconstruction and log-determinant are the same whatever noise is drawn."""
    fitted = module("planar", val_samples=10, test_samples=10)
    nn.init.zeros_(fitted.model.decoder.head.weight)
    nn.init.normal_(fitted.model.decoder.head.bias)
    nn.init.zeros_(fitted.model.posterior.flow.head.weight)
    nn.init.zeros_(fitted.model.posterior.flow.head.bias)
    return fitted


@pytest.mark.parametrize("count", first(SIZES))
@pytest.mark.parametrize("split", ["val", "test"])
def test_means_over_a_set_do_not_depend_on_the_processes(count, split, tmp_path):
    fitted, found = deterministic(), []
    for options in ({}, TWO):
        run = trainer(tmp_path, **options)
        loop = run.validate if split == "val" else run.test
        found.append(loop(fitted, images(count), verbose=False)[0])
    for name in ("reconstruction", "log_det", "nll"):
        assert found[1][f"{split}/{name}"] == pytest.approx(found[0][f"{split}/{name}"], rel=1e-6), name
    x = images(count).rows(split).float()
    exact = fitted.model.decode(torch.zeros(1, 4)).log_prob(x).mean()
    assert found[1][f"{split}/reconstruction"] == pytest.approx(exact.item(), rel=1e-6)
    nll = -log_likelihood(fitted.model, x, 10).log_likelihood.mean()
    assert found[1][f"{split}/nll"] == pytest.approx(nll.item(), rel=1e-6)


def test_fewer_images_than_processes_are_refused(tmp_path):
    with pytest.raises(Exception, match="1 rows of data cannot be shared by 2 devices"):
        trainer(tmp_path, **TWO).validate(module(), images(1), verbose=False)


@pytest.mark.parametrize("count", first(SIZES))
def test_every_image_is_predicted_in_its_place(count, tmp_path):
    fitted = module("none")
    with torch.no_grad():  # a posterior whose samples are its means, to six digits
        fitted.model.posterior.encoder.head.weight[4:8] = 0
        fitted.model.posterior.encoder.head.bias[4:8] = -1e6
    fitted.model.posterior.encoder.forward = Narrow(fitted.model.posterior.encoder)
    trainer(tmp_path, callbacks=[_Latents(tmp_path / "z.pt")], **TWO).predict(
        fitted, images(count), return_predictions=False
    )
    expected = fitted.model.posterior(images(count).rows("test").float()).base.loc
    torch.testing.assert_close(torch.load(tmp_path / "z.pt"), expected, atol=1e-5, rtol=0)


class Narrow:
    """An encoder's forward pass with next to no noise."""

    def __init__(self, encoder):
        self.forward = encoder.forward

    def __call__(self, x):
        return self.forward(x)._replace(log_scale=torch.full((len(x), 4), -15.0))


@pytest.mark.parametrize("count", first(SIZES))
@pytest.mark.parametrize("estimator", ["importance", "annealed"])
def test_a_likelihood_does_not_depend_on_the_processes(estimator, count, tmp_path):
    model, x = module().model.double().eval(), images(count).rows("test")
    kind = {"importance": Importance(20, "posterior"), "annealed": Annealed(2, 5)}[estimator]
    chunks = LikelihoodChunks(model, Images(x), tmp_path / "parts", {"seed": 0}, kind)
    trainer(tmp_path, use_distributed_sampler=False, **TWO).predict(chunks, return_predictions=False)
    found = chunks.collect()[0].log_likelihood
    known = {"importance": lambda: log_likelihood(model, x.float(), 20)}
    known["annealed"] = lambda: annealed_log_likelihood(model, x.float(), 2, 5)
    torch.testing.assert_close(found, known[estimator]().log_likelihood, atol=1e-9, rtol=0)


def test_a_training_row_weighs_images_not_batches(tmp_path):
    """In your own loader, the last batch has a single image, much less likely than the others."""
    x = torch.zeros(65, 64)
    x[-1] = 1
    fitted, rows = module("none", lr=1e-9), []
    nn.init.zeros_(fitted.model.decoder.head.weight)
    nn.init.constant_(fitted.model.decoder.head.bias, -3.0)
    fitted.recorder.epoch_sinks.append(rows.append)
    exact = fitted.model.decode(torch.zeros(1, 4)).log_prob(x).mean().item()
    loader = torch.utils.data.DataLoader(x, batch_size=64)
    trainer(tmp_path).fit(fitted, loader, loader)
    assert rows[0]["train/reconstruction"] == pytest.approx(exact, rel=1e-5)
    assert rows[0]["val/reconstruction"] == pytest.approx(exact, rel=1e-5)


def test_means_are_taken_in_float64():
    means, run = Means(), trainer(".")
    for value in (1e8, 1.0, -1e8):
        means.add({"elbo": torch.tensor(value)}, 1)
    means.add({"elbo": torch.tensor(0.0)}, 0)
    assert means.over_processes(run)["elbo"].item() == pytest.approx(1 / 3)


def test_two_processes_train(tmp_path):
    fitted, run = module("none", lr=1e-9), trainer(tmp_path, **TWO)
    run.fit(fitted, digits())
    assert run.callback_metrics["train/elbo"].isfinite()
