"""HubVAE: what is saved comes back, and nothing else is taken for it."""

import json

import pytest
import torch

from nfvae.runs import Run
from nfvae.runs.hub import HubVAE

SMALL = {"latent": 3, "context": 4, "shape": [3, 4], "depth": 2}
SMALL |= {f"{part}_options": {"hidden": [8]} for part in ("encoder", "decoder")}
CASES = [
    {},
    {"flow": "planar", "prior": "mixture", "prior_options": {"components": 4}},
    {"flow": "none", "prior": "flow", "prior_options": {"flow_options": {"hidden": 8}}},
    {"flow": "realnvp", "prior": "vamp", "prior_options": {"components": 4, "flow": True}},
]


@pytest.mark.parametrize("settings", CASES)
def test_a_model_comes_back_from_a_folder(settings, tmp_path):
    model, x = HubVAE(**SMALL | settings).eval(), torch.bernoulli(torch.full((5, 12), 0.5))
    model.save_pretrained(tmp_path)
    loaded = HubVAE.from_pretrained(tmp_path)
    assert not loaded.training
    assert loaded.state_dict().keys() == model.state_dict().keys()
    torch.manual_seed(0)
    expected = model(x)
    torch.manual_seed(0)
    for found, wanted in zip(loaded(x), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_a_run_goes_to_a_folder_and_back(workdir, fit):
    assert fit("--model.latent", 3)[0] == 0
    run = Run("runs/digits-iaf-4-seed0")
    HubVAE.from_run(run.folder.path).save_pretrained("shared")
    loaded = HubVAE.from_pretrained("shared")
    for name, value in run.vae().state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, rtol=0, atol=0)
    card = (workdir / "shared/README.md").read_text()
    assert "8 x 8 pixels, trained on digits with threshold binarization" in card
    assert "from_pretrained" in card


def test_weights_that_are_not_finite_are_refused(tmp_path):
    model = HubVAE(**SMALL)
    with torch.no_grad():
        model.decoder.head.bias[0] = torch.nan
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"weights that are not finite: decoder.head.bias"):
        HubVAE.from_pretrained(tmp_path)


def test_a_folder_without_settings_is_refused(tmp_path):
    HubVAE(**SMALL).save_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match=r"a model needs its settings; is there a config.json"):
        HubVAE.from_pretrained(tmp_path)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    HubVAE(**SMALL).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"flow": "none"}))
    with pytest.raises(RuntimeError, match="Unexpected key"):
        HubVAE.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"flow": "stolen.module:Flow"}, "stolen.module:Flow, a class from outside nfvae"),
        ({"flow": "iav"}, "did you mean iaf"),
        ({"flows": "iaf"}, "unknown option 'flows' of model 'HubVAE'"),
    ],
)
def test_settings_that_are_refused(setting, message, tmp_path):
    HubVAE(**SMALL).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | setting))
    with pytest.raises(ValueError, match=message):
        HubVAE.from_pretrained(tmp_path)
