"""What the benchmarks share: the README's models and data, the machine, and matrix arithmetic."""

import datetime
import platform
import time
from pathlib import Path

import torch
import yaml

from nfvae import BinarizedImages, FlowVAE
from nfvae.networks import linear

ROOT = Path(__file__).resolve().parent.parent


def matrix_rate():
    """Floating-point operations a second of the fastest of several products of 2048x2048 matrices."""
    a, b = torch.randn(2, 2048, 2048)
    seconds = []
    for product in [torch.matmul, linear] * 8:  # by the library that is quicker here
        start = time.perf_counter()
        product(a, b)
        seconds.append(time.perf_counter() - start)
    return 2 * 2048**3 / min(seconds)


def configs(flow):
    """The files of the README's table."""
    return [ROOT / "configs/base.yaml", ROOT / f"configs/mnist/{flow}.yaml"]


def build_module(flow):
    """What `nfvae fit` would train, its weights as they start."""
    base, overlay = (yaml.safe_load(path.read_text()) for path in configs(flow))
    return FlowVAE(**base["model"] | overlay["model"])


def build_data(batch, data_root):
    """The data that it would be trained on."""
    settings = yaml.safe_load(configs("none")[0].read_text())["data"]
    data = BinarizedImages(**settings | {"batch_size": batch, "root": str(data_root)})
    data.setup()
    return data


def print_machine(*more):
    """Say when and where this is measured."""
    print(datetime.date.today(), platform.machine(), f"{torch.get_num_threads()} threads", f"torch {torch.__version__}",
          *more, sep=", ")  # fmt: skip
