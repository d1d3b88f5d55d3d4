"""One layer of each flow against the same layer of other libraries: both directions, and a step of training.

    pip install -r benchmarks/peers.txt
    python benchmarks/flows.py
    python benchmarks/flows.py --rows iaf nsf --rounds 9
    python benchmarks/flows.py --rows planar radial householder linear actnorm --depth 10
    python benchmarks/flows.py --quick

A library that is not installed is left out, and so is a layer that it lacks. "forward" is the direction that a library
computes in one pass, with log-determinant; "step" the same with the gradient of all parameters and of the input;
"inverse" the other direction. Without a context, which not all of them know. Every round times every library once, in
turn; medians over rounds, in milliseconds. Ratios compare, single times on a shared machine do not.
"""

import argparse
import statistics
from functools import partial

import torch
from common import if_installed, parsed, print_machine, seconds
from torch import nn

from nfvae import make_flow

FEATURES, BATCH, HIDDEN, BINS = 40, 1000, 256, 8
WIDE = 320  # the hidden layers of autoregressive networks
EVERY_SECOND = torch.arange(FEATURES) >= FEATURES // 2


class Ours(nn.Module):
    """Layers of nfvae's."""

    def __init__(self, name, depth, **options):
        super().__init__()
        self.flow = make_flow(name, FEATURES, depth=depth, **options)

    def forward(self, z):
        return self.flow().forward_and_log_det(z)

    def inverse(self, y):
        return self.flow().inverse_and_log_det(y)


class Stack(nn.Module):
    """Layers of another library, one after the other."""

    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, z):
        return self._summed(z, [layer.forward for layer in self.layers])

    def inverse(self, y):
        return self._summed(y, [layer.inverse for layer in reversed(self.layers)])

    def _summed(self, z, maps):
        z, total = maps[0](z)
        for each in maps[1:]:
            z, log_det = each(z)
            total = total + log_det
        return z, total


class Lazy(nn.Module):
    """A lazy transform of zuko's."""

    def __init__(self, transform):
        super().__init__()
        self.transform = transform

    def forward(self, z):
        return self.transform().call_and_ladj(z)

    def inverse(self, y):
        return self.transform().inv.call_and_ladj(y)


class Swapped(nn.Module):
    """A layer of a library whose forward direction is the slow one."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, z):
        return self.layer.inverse(z)

    def inverse(self, y):
        return self.layer.forward(y)


def torchflows_layers():
    import torchflows.bijections.finite.autoregressive.layers as layers
    from torchflows.bijections.finite.matrix import LUMatrix
    from torchflows.bijections.finite.residual.planar import Planar
    from torchflows.bijections.finite.residual.radial import Radial

    shape, network = (FEATURES,), {"n_layers": 3, "nonlinearity": nn.ReLU}
    coupling = {"conditioner_kwargs": {"n_hidden": HIDDEN, **network}}
    masked = {"conditioner_kwargs": {"n_hidden": WIDE, "n_layers": 3}}
    return {
        "planar": lambda: Swapped(Planar(shape)),
        "radial": lambda: Swapped(Radial(shape)),
        "linear": lambda: LUMatrix(shape),
        "nice": lambda: layers.ShiftCoupling(shape, **coupling),
        "realnvp": lambda: layers.AffineCoupling(shape, **coupling),
        "nsf": lambda: layers.RQSCoupling(shape, **coupling),
        "iaf": lambda: layers.AffineForwardMaskedAutoregressive(shape, **masked),
        "iaf spline": lambda: layers.RQSForwardMaskedAutoregressive(shape, **masked),
        "naf": lambda: layers.DeepSigmoidalForwardMaskedAutoregressive(shape, **masked),
    }


def normflows_layers():
    import normflows

    flows, nets = normflows.flows, normflows.nets
    half = FEATURES // 2
    mlp = lambda outputs: nets.MLP([half, HIDDEN, HIDDEN, outputs])  # noqa: E731
    return {
        "planar": lambda: flows.Planar((FEATURES,)),
        "radial": lambda: flows.Radial((FEATURES,)),
        "linear": lambda: Swapped(flows.LULinearPermute(FEATURES)),
        "nice": lambda: flows.AffineCouplingBlock(mlp(half), scale=False),
        "realnvp": lambda: flows.AffineCouplingBlock(mlp(FEATURES), scale_map="sigmoid"),
        "nsf": lambda: Swapped(flows.CoupledRationalQuadraticSpline(FEATURES, 1, HIDDEN, num_bins=BINS)),
        "iaf": lambda: flows.MaskedAffineAutoregressive(FEATURES, WIDE, num_blocks=1, use_residual_blocks=False),
        "iaf spline": lambda: Swapped(flows.AutoregressiveRationalQuadraticSpline(FEATURES, 1, WIDE, num_bins=BINS)),
    }


def nflows_layers():
    from nflows import transforms
    from nflows.nn.nets import MLP

    def mlp(inputs, outputs):
        return MLP((inputs,), (outputs,), [HIDDEN, HIDDEN])

    class Network(nn.Module):  # which nflows calls with a context too
        def __init__(self, inputs, outputs):
            super().__init__()
            self.hidden_features, self.network = HIDDEN, mlp(inputs, outputs)

        def forward(self, z, context=None):
            return self.network(z)

    masked = {"hidden_features": WIDE, "num_blocks": 1, "use_residual_blocks": False}
    spline = {"num_bins": BINS, "tails": "linear", "tail_bound": 5.0}
    mask = EVERY_SECOND.float()
    return {
        "householder": lambda: transforms.HouseholderSequence(FEATURES, 2),
        "linear": lambda: transforms.LULinear(FEATURES),
        "actnorm": lambda: transforms.ActNorm(FEATURES),
        "nice": lambda: transforms.AdditiveCouplingTransform(mask, Network),
        "realnvp": lambda: transforms.AffineCouplingTransform(mask, Network),
        "nsf": lambda: transforms.PiecewiseRationalQuadraticCouplingTransform(mask, Network, **spline),
        "iaf": lambda: transforms.MaskedAffineAutoregressiveTransform(FEATURES, **masked),
        "iaf spline": lambda: transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
            features=FEATURES, **masked, **spline
        ),
        "elementwise": lambda: transforms.PiecewiseRationalQuadraticCDF((FEATURES,), **spline),
    }


def zuko_layers():
    from zuko import flows
    from zuko.transforms import MonotonicRQSTransform

    spline = {"univariate": MonotonicRQSTransform, "shapes": [(BINS,), (BINS,), (BINS - 1,)]}
    coupling = {"mask": EVERY_SECOND, "hidden_features": [HIDDEN, HIDDEN]}
    masked = {"hidden_features": [WIDE, WIDE]}
    return {
        "realnvp": lambda: Lazy(flows.GeneralCouplingTransform(FEATURES, **coupling)),
        "nsf": lambda: Lazy(flows.GeneralCouplingTransform(FEATURES, **coupling, **spline)),
        "iaf": lambda: Lazy(flows.MaskedAutoregressiveTransform(FEATURES, **masked)),
        "iaf spline": lambda: Lazy(flows.MaskedAutoregressiveTransform(FEATURES, **masked, **spline)),
        "elementwise": lambda: Lazy(flows.ElementWiseTransform(FEATURES, **spline)),
    }


OURS = {
    "planar": ("planar", {}),
    "radial": ("radial", {}),
    "householder": ("householder", {}),
    "sylvester": ("sylvester", {"variant": "orthogonal"}),
    "linear": ("linear", {}),
    "actnorm": ("actnorm", {}),
    "elementwise": ("elementwise", {}),
    "nice": ("nice", {"hidden": HIDDEN}),
    "realnvp": ("realnvp", {"hidden": HIDDEN}),
    "nsf": ("nsf", {"hidden": HIDDEN}),
    "iaf": ("iaf", {"univariate": "affine", "hidden": WIDE}),
    "iaf spline": ("iaf", {"univariate": "spline", "hidden": WIDE}),
    "naf": ("naf", {"hidden": WIDE}),
    "bnaf": ("bnaf", {}),
    "glow": ("glow", {"hidden": HIDDEN}),
    "coupling logistic": ("coupling", {"univariate": "logistic", "hidden": HIDDEN}),
}
PEERS = {
    "normflows": normflows_layers,
    "nflows": nflows_layers,
    "zuko": zuko_layers,
    "torchflows": torchflows_layers,
}


def peers():
    """The layers of every library that is installed."""
    found = {}
    for name, layers in PEERS.items():
        with if_installed(name):
            found[name] = layers()
    return found


def step(layer, z):
    y, log_det = layer(z)
    (y.sum() + log_det.sum()).backward()


def forward(layer, z):
    with torch.no_grad():
        layer(z)


def inverse(layer, z):
    with torch.no_grad():
        layer.inverse(z)


def measure(work, layers, rounds):
    """Median milliseconds of each library's layer; None where it has no such direction."""
    z = torch.randn(BATCH, FEATURES, requires_grad=True)
    times = {}
    for name, layer in layers.items():
        try:
            work(layer, z)
        except Exception:  # what a library lacks it says in its own way
            continue
        times[name] = []
    for _ in range(rounds):
        for name, taken in times.items():
            taken.append(seconds(partial(work, layers[name], z)))
    return {name: 1e3 * statistics.median(taken) for name, taken in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", default=list(OURS), choices=list(OURS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--depth", type=int, default=1, help="layers, one after the other")
    asked = parsed(parser, rounds=1)
    print_machine(f"D = {FEATURES}", f"batch {BATCH}")
    found = peers()
    print(f"| layer | direction | nfvae | {' | '.join(found)} | nfvae / fastest |")
    print("|---" * (4 + len(found)) + "|")
    for row in asked.rows:
        name, options = OURS[row]
        layers = {"nfvae": Ours(name, asked.depth, **options)}
        for library, made in found.items():
            if row in made:
                layers[library] = Stack([made[row]() for _ in range(asked.depth)])
        for work in (forward, step, inverse):
            times = measure(work, layers, asked.rounds)
            others = [time for library, time in times.items() if library != "nfvae"]
            ratio = f"{times['nfvae'] / min(others):.2f}" if others else ""
            cells = [f"{times[library]:.2f}" if library in times else "" for library in ["nfvae", *found]]
            print(f"| {row} | {work.__name__} | {' | '.join(cells)} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
