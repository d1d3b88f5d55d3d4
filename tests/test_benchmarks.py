"""Every benchmark runs, at its smallest size; what it measures then means nothing."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.sweeps import exhaustive

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "common")


@exhaustive
@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_runs(name, workdir, mnist_root):
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--quick"]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"NFVAE_DATA": str(mnist_root)})
    assert ended.returncode == 0, ended.stderr
    rows = [line for line in ended.stdout.splitlines() if re.match(r"\| .*\d", line)]
    assert rows, ended.stdout
