"""What a model takes from Python: images of any type and layout that can be understood, and a line about the others."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from nfvae import FlowVAE, annealed_log_likelihood, log_likelihood, make_vae
from nfvae.estimators import log_weights
from nfvae.numerics import at_least_float32
from tests.helpers.models import PIXELS, binary, small_vae

SMALL = {"encoder_options": {"hidden": [8]}, "decoder_options": {"hidden": [8]}, "latent": 2, "context": 2, "depth": 1}
IMAGES = torch.bernoulli(torch.full((6, 4, 5), 0.4), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model():
    return make_vae("planar", shape=[4, 5], **SMALL)


@pytest.mark.parametrize(
    "given",
    [IMAGES, IMAGES[:, None], IMAGES.flatten(1), IMAGES.bool(), IMAGES.to(torch.uint8), IMAGES.double()],
    ids=["(B, H, W)", "(B, 1, H, W)", "(B, P)", "bool", "uint8", "float64"],
)
def test_binary_images_are_taken_as_they_come(given, model):
    expected = log_likelihood(model, IMAGES.flatten(1), 20).log_likelihood
    torch.testing.assert_close(log_likelihood(model, given, 20).log_likelihood, expected)
    assert model.reconstruct(given).shape == (6, 20)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (IMAGES * 0.3, "expected binary images; got values from 0 to 0.3: binarize gray ones first"),
        (IMAGES * 255, "expected binary images; got values from 0 to 255"),
        (IMAGES[:, :3], r"expected images with shape \(B, 20\) or \(B, 4, 5\); got \(6, 3, 5\)"),
        (IMAGES[0, 0], r"expected images with shape \(B, 20\) or \(B, 4, 5\); got \(5,\)"),
    ],
)
def test_other_images_are_refused_in_words(given, message, model):
    for call in (lambda: log_likelihood(model, given, 20), lambda: model.reconstruct(given)):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_flow_says_that_it_has_no_mean(model):
    posterior = model.posterior(IMAGES.flatten(1))
    for name in ("mean", "variance"):
        with pytest.raises(NotImplementedError, match=f"a flow has no {name} in closed form"):
            getattr(posterior, name)


def fit(data, tmp_path, **options):
    module = FlowVAE(flow="planar", shape=[4, 5], **SMALL)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", default_root_dir=tmp_path, **quiet, **options)
    loader = DataLoader(data, batch_size=3)
    trainer.fit(module, loader, loader)
    return trainer.callback_metrics["val/elbo"]


def test_labels_are_left_aside(tmp_path):
    for data in (TensorDataset(IMAGES), TensorDataset(IMAGES[:, None], torch.arange(6))):
        assert fit(data, tmp_path).isfinite()


def test_gray_batches_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"expected binary images; got values from 0 to 0\.3"):
        fit(TensorDataset(IMAGES * 0.3), tmp_path)


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_densities_have_32_bits_at_least(precision, tmp_path):
    assert fit(TensorDataset(IMAGES), tmp_path, precision=precision) == pytest.approx(
        float(fit(TensorDataset(IMAGES), tmp_path)), abs=2
    )
    with torch.autocast("cpu", torch.bfloat16):
        model = make_vae("iaf", shape=[4, 5], flow_options={"hidden": 8}, **SMALL)
        terms = model(IMAGES.flatten(1), 3)
        z = model.posterior(IMAGES.flatten(1)).rsample()
        assert {value.dtype for value in (*terms, z)} == {torch.float32}
    assert at_least_float32(torch.zeros(1, dtype=torch.float16)).dtype == torch.float32


@pytest.mark.parametrize("precision", ["16-true", "bf16-true"])
def test_coarser_precisions_are_refused(precision, tmp_path):
    with pytest.raises(ValueError, match="in which a flow and its inverse disagree"):
        fit(TensorDataset(IMAGES), tmp_path, precision=precision)


def test_a_flow_under_mixed_precision_is_still_undone():
    model = make_vae("iaf", shape=[4, 5], flow_options={"hidden": 64}, **SMALL | {"depth": 4})
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        posterior = model.posterior(IMAGES.flatten(1))
        draw = posterior.draw((50,))
        torch.testing.assert_close(posterior.log_prob(draw.z), draw.log_prob, rtol=1e-4, atol=1e-4)


def test_an_impossible_bound_is_refused(tmp_path, monkeypatch):
    """A log-determinant that is too small makes a density that integrates to less than one, and bounds above 0."""
    from nfvae.flows.planar import Planar

    forward, inverse = Planar.forward_and_log_det, Planar.inverse_and_log_det
    monkeypatch.setattr(Planar, "forward_and_log_det", lambda self, z: (forward(self, z)[0], forward(self, z)[1] + 90))
    monkeypatch.setattr(Planar, "inverse_and_log_det", lambda self, y: (inverse(self, y)[0], inverse(self, y)[1] - 90))
    with pytest.raises(FloatingPointError, match=r"val/elbo is .* nats per image, which is impossible"):
        fit(TensorDataset(IMAGES), tmp_path)


@pytest.mark.parametrize("kind", [lambda x: x.numpy(), lambda x: x.tolist(), lambda x: x.numpy().astype("uint8")])
def test_arrays_and_lists_are_images_too(kind):
    vae, x = small_vae(), binary(3)
    estimates = {
        "importance": lambda x: log_likelihood(vae, x, 20, indices=[0, 1, 2]).log_likelihood,
        "weights": lambda x: log_weights(vae, x, 20),
        "annealed": lambda x: annealed_log_likelihood(vae, x, 2, 5).log_likelihood,
        "as_images": vae.as_data,
    }
    for name, estimate in estimates.items():
        assert torch.equal(estimate(kind(x)), estimate(x)), name
    assert vae.encode(kind(x)).z.shape == (1, 3, 3)
    assert vae.reconstruct(kind(x)).shape == (3, PIXELS)


@pytest.mark.parametrize("value", [None, "x", {"a": 1}, [[1, 2], [3]]])
def test_what_holds_no_images_is_refused(value):
    with pytest.raises(ValueError, match="vectors must be numbers in a tensor, an array or a list"):
        log_likelihood(small_vae(), value, 5)


@pytest.mark.parametrize("change", [lambda x: x.to(torch.complex64), lambda x: x.to_sparse()])
def test_images_that_are_no_plain_numbers_are_refused(change):
    with pytest.raises(ValueError, match="expected vectors in a plain tensor of real numbers"):
        log_likelihood(small_vae(), change(binary(2)), 5)


def test_samples_may_be_a_number_of_numpy_and_must_be_some():
    vae, x = small_vae(), binary(2)
    assert log_likelihood(vae, x, np.int64(20)).log_likelihood.shape == (2,)
    with pytest.raises(ValueError, match="samples must be at least 1"):
        vae.encode(x, samples=0)
