"""What the benchmarks share: the README's models and data, the machine, and matrix arithmetic."""

import contextlib
import datetime
import math
import platform
import time
from functools import reduce
from pathlib import Path

import torch
from torch.utils.flop_counter import register_flop_formula

from nfvae import DataModule, FlowVAE
from nfvae.commands.settings import merge, read_config
from nfvae.data.binarize import bernoulli_draw
from nfvae.networks import linear


@register_flop_formula([torch.ops.mkldnn._linear_pointwise, torch.ops.nfvae.product])
def product_flops(x, weight, *_, **__):
    """Operations of a product that goes to oneDNN, as PyTorch counts those of its own."""
    return 2 * math.prod(x) * weight[0]


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
    """The files of docs/appendix.md, "Five posteriors, sixty epochs"."""
    return [ROOT / f"configs/{name}.yaml" for name in ("mnist", "networks/relu", f"posteriors/{flow}")]


def settings(flow):
    """What they say together."""
    return reduce(merge, map(read_config, configs(flow)))


def build_module(flow):
    """What `nfvae fit` would train, its weights as they start."""
    return FlowVAE(**settings(flow)["model"])


def build_data(batch, data_root):
    """The data that it would be trained on."""
    data = DataModule(**settings("none")["data"] | {"batch_size": batch, "root": str(data_root)})
    data.setup()
    return data


def seconds(call):
    """Wall time of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


class StepLoop:
    """Index, binarize, forward, backward, step: what is left of a training without Lightning.

    Args:
        loss: binarized images -> a scalar.
        parameters: what learns.
        images: gray ones, uint8 with shape (N, P).
        batch: images a step.
        adam: the optimizer's class.
    """

    def __init__(self, loss, parameters, images, batch, adam=torch.optim.Adam):
        self.loss, self.images, self.batch = loss, images, batch
        self.optimizer = adam(parameters, 1e-3, fused=True)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 1.0)

    def run(self, steps, warm_up):
        """Seconds a step, after some that are not timed."""
        order = torch.randperm(len(self.images))
        per_epoch = len(order) // self.batch
        for step in range(warm_up + steps):
            if step == warm_up:
                start = time.perf_counter()
            at = step % per_epoch * self.batch
            loss = self.loss(bernoulli_draw(self.images.index_select(0, order[at : at + self.batch])))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
        return (time.perf_counter() - start) / steps


@torch.no_grad()
def straightforward(log_weight, x, samples, rows):
    """Log-likelihood of each image, as one would first write it, from rows -> a log-weight of each."""
    bounds = []
    for image in x:
        weights = torch.cat([log_weight(image.repeat(rows, 1)) for _ in range(samples // rows)])
        bounds.append(weights.logsumexp(0) - torch.log(torch.tensor(float(samples))))
    return torch.stack(bounds)


def parsed(parser, **smallest):
    """What the command line asks for; with --quick what it leaves open is as small as it can be."""
    parser.add_argument("--quick", action="store_true", help="a minute's worth, which shows that everything runs")
    if parser.parse_known_args()[0].quick:
        parser.set_defaults(**smallest)
    return parser.parse_args()


@contextlib.contextmanager
def if_installed(library):
    """Leave out a library that is not installed, and say so."""
    try:
        yield
    except ImportError as error:
        print(f"left out: {library} ({error})", flush=True)


def print_machine(*more):
    """Say when and where this is measured."""
    print(datetime.date.today(), platform.machine(), f"{torch.get_num_threads()} threads", f"torch {torch.__version__}",
          *more, sep=", ")  # fmt: skip
