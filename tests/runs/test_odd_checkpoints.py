"""Checkpoints in which one value has an odd type, sealed as if training had written them: one line, never a traceback."""

import copy
import math
import shutil
import warnings
from pathlib import Path

import pytest
import torch

from nfvae import FlowVAE
from nfvae.__main__ import main
from nfvae.runs import Run, checkpoint
from nfvae.runs.checkpoint import read_checkpoint, seal
from tests.helpers.training import digits, module, trainer

NESTED = [[[[1]], "x"], {"a": [None]}]
ODD = {
    "none": None,
    "true": True,
    "negative": -1,
    "fraction": 1.5,
    "nan": math.nan,
    "text": "x",
    "empty list": [],
    "list": [1],
    "empty": {},
    "numbers by number": {1: 2},
    "tensor": torch.zeros(2),
    "sparse": torch.zeros(2).to_sparse(),
    "quantized": torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.quint8),
    "nested": NESTED,
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small checkpoint of an epoch, and where it lies."""
    folder = tmp_path_factory.mktemp("odd")
    running = trainer(folder, limit_train_batches=1, limit_val_batches=1)
    running.fit(module(depth=1, schedule="cosine", test_samples=2, start=None), digits())
    path = Path(running.checkpoint_callback.best_model_path)
    return path, torch.load(path, weights_only=True)


def places(content):
    """Where an odd value is put: every part, every setting, some weights, and all of one parameter's optimizer state."""
    state = content["optimizer_states"][0]
    yield from ([name] for name in content if name != "digests")
    yield from (["hyper_parameters", name] for name in content["hyper_parameters"])
    yield from (["datamodule_hyper_parameters", name] for name in content["datamodule_hyper_parameters"])
    yield from (["state_dict", name] for name in [*content["state_dict"]][:2])
    yield from (["optimizer_states", 0, name] for name in state)
    yield from (["optimizer_states", 0, "state", place] for place in [*state["state"]][:1])
    yield from (["optimizer_states", 0, "state", 0, name] for name in state["state"][0])
    yield from (["optimizer_states", 0, "param_groups", 0, name] for name in state["param_groups"][0])
    yield from (["lr_schedulers", 0, name] for name in content["lr_schedulers"][0])
    yield from (["loops", name] for name in content["loops"])
    yield from (["loops", "fit_loop", name] for name in content["loops"]["fit_loop"])
    yield from (["callbacks", name] for name in content["callbacks"])
