"""Every setting of a training under values that nobody means: it trains, or says in one line what is wrong."""

import os
import signal

import pytest

from nfvae.__main__ import main
from nfvae.commands.parsers import training_parser
from nfvae.training import TASKS
from tests.helpers.sweeps import exhaustive

VALUES = ["null", "abc", "-1", "0", "1000000000000", "nan", "inf", "", "ünï😀", "[]", "{}", "[1, -2]", "0.5", "true"]
EVERY = 1 if os.environ.get("NFVAE_FUZZ") else 9  # NFVAE_FUZZ=1 tries all of them, which takes some minutes
QUICK_EVERY = 12  # of those without --exhaustive
SMALL = {
    "vae": ["--data.dataset=digits", "--model.latent=2", "--model.context=2", "--model.depth=1", "--model.flow=planar"],
    "density": ["--task=density", "--data.dataset_options.count=50", "--model.depth=1", "--model.flow=planar"],
}
QUICK = ["max_epochs=1", "max_steps=2", "limit_train_batches=1", "limit_val_batches=1", "num_sanity_val_steps=0"]
SKIPPED = {"config", "ckpt_path", "trust", "model.compile"}  # the last one takes long, and is tested elsewhere
SECONDS, LONGEST = 60, 400


def cases():
    found = []
    for task, small in SMALL.items():
        keys = [key for key in training_parser(TASKS.load(task)).get_defaults().keys() if key not in SKIPPED]  # noqa: SIM118  (a Namespace)
        for place, key in enumerate(keys):
            for turn, value in enumerate(VALUES):
                if (place + turn) % EVERY == 0:
                    marks = [exhaustive] if len(found) % QUICK_EVERY else []
                    found.append(pytest.param([*small, f"--{key}={value}"], id=f"{task} {key}={value}", marks=marks))
    return found


def test_all_settings_are_tried():
    assert len(cases()) > 1500 / EVERY


@pytest.mark.parametrize("arguments", cases())
def test_a_setting_is_taken_or_refused_in_one_line(arguments, workdir, capfd):
    def too_long(*_):
        raise AssertionError("hangs")

    quick = [f"--trainer.{setting}" for setting in QUICK]
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        code = main(["fit", *quick, "--trainer.accelerator=cpu", "--trainer.enable_model_summary=false", *arguments])
    finally:
        signal.alarm(0)
    error = capfd.readouterr().err
    assert code in (0, 1, 2), error
    assert "Traceback" not in error
    if code:
        lines = [line for line in error.splitlines() if line.startswith("nfvae: error: ")]
        assert len(lines) == 1
        assert code == 1 or lines[0] == error.strip()
        assert len(lines[0]) <= LONGEST
    if code == 2:
        assert not any(path.is_dir() for path in workdir.glob("runs/*/")), "nothing is left behind"
