"""Checkpoints in which one value has an odd type, sealed as if training had written them: one line, no traceback."""

import copy
import math
import shutil
import warnings
from pathlib import Path

import pytest
import torch

from nfvae import FlowVAE
from nfvae.runs import Run
from nfvae.runs.checkpoint import seal
from tests.helpers.sweeps import exhaustive
from tests.helpers.training import digits, module, trainer

with warnings.catch_warnings(action="ignore"):
    QUANTIZED = torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.quint8)
ODD = [
    *(None, True, -1, 1.5, math.nan, "x", [], [1], {}, {1: 2}, [[[[1]], "x"], {"a": [None]}]),
    *(torch.zeros(2), torch.zeros(2).to_sparse(), QUANTIZED),
]
SLOW = ["hyper_parameters", "compile"]  # True compiles
FIT = ["--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1", "--trainer.logger=false"]
COMMANDS = {
    "sample": ["sample", "odd.ckpt", "--count", "1", "--output", "x.npz"],
    "fit": [
        "fit",
        "--ckpt_path",
        "odd.ckpt",
        "--name",
        "on",
        "--trainer.default_root_dir=runs",
        "--trainer.max_epochs=2",
        *FIT,
    ],
}
LOADERS = {"Run": lambda: Run("odd.ckpt").vae(), "load": lambda: FlowVAE.load_from_checkpoint("odd.ckpt")}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The content of a small checkpoint, whose training goes on in one step."""
    folder = tmp_path_factory.mktemp("odd")
    running = trainer(folder, limit_train_batches=1, limit_val_batches=1)
    running.fit(module(depth=1, schedule="cosine", test_samples=2), digits())
    return torch.load(running.checkpoint_callback.best_model_path, weights_only=True)


def settings(content):
    yield from ([name] for name in content if name != "digests")
    for part in ("hyper_parameters", "datamodule_hyper_parameters"):
        yield from ([part, name] for name in content[part] if [part, name] != SLOW)
    yield ["state_dict", next(iter(content["state_dict"]))]


def of_training(content):
    states = content["optimizer_states"][0]
    yield from (["optimizer_states", 0, name] for name in states)
    yield from (["optimizer_states", 0, "state", 0, *name] for name in [[], *([name] for name in states["state"][0])])
    yield from (["optimizer_states", 0, "param_groups", 0, name] for name in states["param_groups"][0])
    yield from (["lr_schedulers", 0, name] for name in content["lr_schedulers"][0])
    yield from (["loops", "fit_loop", name] for name in content["loops"]["fit_loop"])
    yield from (["callbacks", name] for name in content["callbacks"])


def write(content, place, value):
    """Put a value into a place and seal the checkpoint; what cannot be sealed has seals of nothing."""
    content = copy.deepcopy({name: each for name, each in content.items() if name != "digests"})
    *outer, last = place
    held = content
    for name in outer:
        held = held[name]
    held[last] = value
    try:
        seal(content)
    except ValueError:
        content["digests"] = dict.fromkeys(content, "")
    torch.save(content, "odd.ckpt")


def some(places, share):
    """Pair each place with a share of the odd values, and each odd value with a share of the places."""
    return [
        (place, value)
        for at, place in enumerate(places)
        for which, value in enumerate(ODD)
        if (at + which) % share == 0
    ]


@pytest.mark.parametrize("loader", LOADERS)
def test_an_odd_value_is_refused_or_does_no_harm_from_python(loader, saved, workdir):
    refused = 0
    for place, value in some(settings(saved), 4):
        write(saved, place, value)
        try:
            LOADERS[loader]()
        except ValueError:
            refused += 1
    assert refused > 50


@exhaustive
def test_an_odd_value_gets_one_line_from_commands_before_anything_is_written(saved, cli):
    refused = 0
    for command, places, share in (("sample", settings, 20), ("fit", settings, 14), ("fit", of_training, 10)):
        for place, value in some(places(saved), share):
            write(saved, place, value)
            with warnings.catch_warnings(action="ignore"):
                code, _, error = cli(*COMMANDS[command])
            lines = [line for line in error.splitlines() if "nfvae: error:" in line]
            assert (code, len(lines)) in {(0, 0), (2, 1)}, (place, value, error)
            assert "Traceback" not in error
            assert code == 0 or not Path("runs/on").exists(), (place, value, error)
            shutil.rmtree("runs", ignore_errors=True)
            refused += code == 2
    assert refused > 80


@pytest.mark.parametrize("part", ["epoch", "hyper_parameters"])
@pytest.mark.parametrize("shape", ["shared", "deep", "endless", "expanded"])
def test_what_would_be_read_without_end_is_refused(part, shape, saved, workdir):
    content = {name: each for name, each in saved.items() if name != "digests"}
    value = [1]
    for _ in range({"shared": 40, "deep": 200}.get(shape, 0)):
        value = [value, value] if shape == "shared" else [value]
    if shape == "endless":
        value.append(value)
    if shape == "expanded":
        value = torch.zeros(1).expand(10**6, 10**6)
    content[part] = value if part == "epoch" else {**content[part], "flow_options": {"hidden": value}}
    content["digests"] = dict.fromkeys(content, "")
    torch.save(content, "odd.ckpt")
    with pytest.raises(ValueError, match=r"odd.ckpt is not a checkpoint of nfvae, or is damaged \(ValueError\)"):
        Run("odd.ckpt")
