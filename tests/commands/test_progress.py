"""What a terminal shows while a training runs."""

import math
import os
import pty
import re
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from nfvae.__main__ import main
from nfvae.commands.progress import Pace, batches_left
from tests.conftest import QUICKSTART


def paced(*epochs, batches=10):
    """Return a pace that has seen epochs of so many seconds each, and when the next one begins."""
    pace, now = Pace(), 100.0
    for seconds in epochs:
        pace.start_epoch(now)
        pace.batches += batches
        now += seconds
    pace.start_epoch(now)
    return pace, now


def test_what_is_left_is_epochs_times_the_time_of_an_epoch():
    assert paced(3.0)[0].seconds(20, math.nan) == pytest.approx(6.0)
    assert paced(8.0, 3.0, 5.0)[0].seconds(20, math.nan) == pytest.approx(8.0), "the first epoch is the slowest one"
    pace, now = paced()
    pace.batches += 4
    assert pace.seconds(26, now + 2.0) == pytest.approx(13.0), "in the first epoch by its batches"


def test_the_speed_is_that_of_this_epoch():
    pace, now = paced(50.0)
    pace.batches += 3
    assert pace.batches_per_second(now + 0.1) == pytest.approx(30)


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({"max_epochs": 3}, 25),
        ({"max_epochs": -1, "max_steps": 12}, 14),
        ({"max_epochs": 3, "max_steps": 12}, 14),
        ({"max_epochs": -1}, math.inf),
        ({"max_epochs": 3, "num_training_batches": math.inf}, math.inf),
    ],
)
def test_batches_left_are_those_of_all_epochs(settings, left):
    """Five batches into the second of the epochs, two batches a step."""
    trainer = {"num_training_batches": 15, "current_epoch": 1, "global_step": 5, "accumulate_grad_batches": 2}
    trainer |= {"max_steps": -1} | settings
    assert batches_left(SimpleNamespace(**trainer), 4) == left


@pytest.fixture
def terminal(workdir, monkeypatch):
    """Run a command line whose output is a terminal of eighty columns: terminal(*arguments) -> the text shown."""

    def call(*arguments):
        ours, its = pty.openpty()
        shown: list[bytes] = []
        reader = threading.Thread(target=_read, args=(ours, shown))
        reader.start()
        with os.fdopen(its, "w") as stdout, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stdout)
            code = main([str(argument) for argument in arguments])
        reader.join()
        os.close(ours)
        assert code == 0
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(shown).decode())

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    return call


def _read(descriptor, shown):
    try:
        while part := os.read(descriptor, 4096):
            shown.append(part)
    except OSError:  # the other end is closed
        pass


def test_a_terminal_shows_speed_and_the_time_left_of_the_whole_training(terminal):
    text = terminal("fit", "-c", QUICKSTART, "--trainer.max_epochs", 3, "--trainer.enable_model_summary", "false")
    lines = re.split(r"[\r\n]+", text)
    first, last = (
        [line for line in lines if line.startswith(f"Epoch {epoch}/3") and "20/20" in line] for epoch in (1, 3)
    )
    assert re.search(r"20/20 \d:\d\d:\d\d left +[\d,.]+it/s elbo: -\d+\.\d\d", first[0])
    assert "0:00:00 left" in last[-1]
    assert not re.search(r"\b0\.00it/s|-:--:--", text)
    assert max(len(line) for line in lines if line.startswith("Epoch")) <= 80


@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_reader_that_leaves_gets_no_error(buffered):
    words = [sys.executable, "-m", "nfvae", "fit", "--help"]
    with subprocess.Popen(words, stdout=-1, stderr=-1, env=os.environ | {"PYTHONUNBUFFERED": buffered}) as command:
        command.stdout.readline()
        command.stdout.close()
        assert command.stderr.read() == b""
