"""Time nfvae against what a user would otherwise pick: pythae, normflows, nflows, zuko.

    pip install -r benchmarks/peers.txt
    NFVAE_DATA=data python benchmarks/peers.py [--tables step likelihood] [--rounds 5] [--batches 128 1000] [--quick]

The model is that of the README's table: 784-300-300, D = 40, 300-300-784, ReLU, Bernoulli pixels; planar and radial
with 10 layers, IAF with 4 of two hidden layers of 320. Libraries that bring a flow alone get the same encoder, decoder
and binarization as ours, and PyTorch's fused Adam. normflows' planar and radial layers are not amortized, and pythae's
flows neither, which is less work. pythae trains by its own trainer. Every round times every library once, in turn;
medians over rounds. A library that is not installed is left out. Rows where nfvae loses stand in the tables.
"""

import argparse
import contextlib
import os
import statistics
import tempfile
from functools import partial
from pathlib import Path

import torch
from common import (
    StepLoop,
    build_data,
    build_module,
    if_installed,
    parsed,
    print_machine,
    seconds,
    straightforward,
)
from torch import nn
from training import run_fit

from nfvae import log_likelihood
from nfvae.data.binarize import bernoulli_draw
from nfvae.training.optimizers import FusedAdam

D, CONTEXT, PIXELS, WIDTH = 40, 64, 784, 320
DEPTH = {"none": 1, "planar": 10, "radial": 10, "iaf": 4}
WARM_UP = 10


def hidden(inputs):
    return nn.Linear(inputs, 300), nn.ReLU(), nn.Linear(300, 300), nn.ReLU()


class Script(nn.Module):
    """The VAE of a lone script around the flow of a library, which takes z and the context."""

    def __init__(self, transform):
        super().__init__()
        self.encoder = nn.Sequential(*hidden(PIXELS), nn.Linear(300, 2 * D + CONTEXT))
        self.decoder = nn.Sequential(*hidden(D), nn.Linear(300, PIXELS))
        self.transform = transform

    def log_weight(self, x):
        loc, log_scale, h = self.encoder(x).split([D, D, CONTEXT], -1)
        noise = torch.randn_like(loc)
        z, log_det = self.transform(loc + log_scale.exp() * noise, h)
        log_p = -nn.functional.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="none").sum(-1)
        return log_p - z.square().sum(-1) / 2 + noise.square().sum(-1) / 2 + log_scale.sum(-1) + log_det

    def loss(self, x):
        return -self.log_weight(x).mean()


class Ours(nn.Module):
    """What `nfvae fit` trains: eager, compiled, or with its networks in bfloat16."""

    def __init__(self, flow, compiled=False, precision=None):
        super().__init__()
        self.module = build_module(flow)
        self.step = torch.compile(self.module.loss_and_metrics) if compiled else self.module.loss_and_metrics
        self.precision = precision

    def loss(self, x):
        with torch.autocast("cpu", self.precision) if self.precision else contextlib.nullcontext():
            return self.step(x)[0]


class Layers(nn.Module):
    """Layers of a library one after the other, with the context or without, the order reversed or not."""

    def __init__(self, make, depth, with_context=False, reverse=False):
        super().__init__()
        self.layers = nn.ModuleList(make() for _ in range(depth))
        self.with_context, self.reverse = with_context, reverse

    def forward(self, z, h):
        total = 0
        for layer in self.layers:
            z, log_det = layer(z, h) if self.with_context else layer(z)
            z, total = z.flip(-1) if self.reverse else z, total + log_det
        return z, total


class ZukoIAF(nn.Module):
    """zuko's masked flow, in its cheap direction."""

    def __init__(self):
        super().__init__()
        import zuko

        self.flow = zuko.flows.MAF(D, CONTEXT, transforms=DEPTH["iaf"], hidden_features=(WIDTH, WIDTH))

    def forward(self, z, h):
        return self.flow(h).transform.call_and_ladj(z)


def no_flow():
    return Script(lambda z, h: (z, 0))


def of_normflows(flow):
    import normflows

    kind = {"planar": normflows.flows.Planar, "radial": normflows.flows.Radial}[flow]
    return Script(Layers(lambda: kind((D,)), DEPTH[flow]))


def of_nflows():
    from nflows.transforms import MaskedAffineAutoregressiveTransform as Masked

    make = partial(Masked, D, WIDTH, context_features=CONTEXT, num_blocks=2, use_residual_blocks=False)
    return Script(Layers(make, DEPTH["iaf"], with_context=True, reverse=True))


PEERS = {
    "none": {"a lone script": no_flow},
    "planar": {"normflows, not amortized": partial(of_normflows, "planar")},
    "radial": {"normflows, not amortized": partial(of_normflows, "radial")},
    "iaf": {"zuko": lambda: Script(ZukoIAF()), "nflows": of_nflows},
}


def step_loop(model, images, batch, steps):
    """A call that gives seconds a step."""
    adam = FusedAdam if isinstance(model, Ours) else torch.optim.Adam
    return partial(StepLoop(model.loss, model.parameters(), images, batch, adam).run, steps, WARM_UP)


def pythae_model(flow):
    """Pythae's VAE with a flow, its networks of our sizes."""
    from pythae.models import VAE_IAF, VAE_IAF_Config, VAE_LinNF, VAE_LinNF_Config
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    script = no_flow()

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.net = script.encoder

        def forward(self, x):
            loc, log_scale, _ = self.net(x.flatten(1)).split([D, D, CONTEXT], -1)
            return ModelOutput(embedding=loc, log_covariance=2 * log_scale)

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.net = script.decoder

        def forward(self, z):
            return ModelOutput(reconstruction=torch.sigmoid(self.net(z)))

    shared = {"input_dim": (PIXELS,), "latent_dim": D, "reconstruction_loss": "bce"}
    if flow == "iaf":
        config = VAE_IAF_Config(**shared, n_made_blocks=DEPTH[flow], n_hidden_in_made=2, hidden_size=WIDTH)
        return VAE_IAF(config, Encoder(), Decoder())
    return VAE_LinNF(VAE_LinNF_Config(**shared, flows=[flow.capitalize()] * DEPTH[flow]), Encoder(), Decoder())


class PythaeTrainer:
    """pythae's own training loop; its images stay as they were binarized once."""

    def __init__(self, flow, images, batch, steps):
        from pythae.data.datasets import BaseDataset
        from pythae.trainers import BaseTrainer, BaseTrainerConfig

        self.steps = steps
        x = bernoulli_draw(images[: self.steps * batch])
        config = BaseTrainerConfig(
            output_dir=tempfile.mkdtemp(), per_device_train_batch_size=batch, num_epochs=1, no_cuda=True
        )
        self.trainer = BaseTrainer(pythae_model(flow), BaseDataset(x, torch.zeros(len(x))), training_config=config)
        self.trainer.prepare_training()

    def __call__(self):
        return seconds(lambda: self.trainer.train_step(1)) / self.steps


def medians(calls, rounds):
    """Time calls in turn; the first round warms up."""
    found = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            value = call()
            if turn:
                found[name].append(value)
    return {name: statistics.median(values) for name, values in found.items()}


def show(what, results):
    ours = results["nfvae"]
    for name, value in results.items():
        ratio = "" if name == "nfvae" else f"{value / ours:.2f}"
        print(f"| {what} | {name} | {1e3 * value:,.1f} ms | {ratio} |", flush=True)


def ours(flow, compile):
    """How nfvae trains a flow, by what that is called."""
    models = {"nfvae": partial(Ours, flow), "nfvae, bfloat16": partial(Ours, flow, precision=torch.bfloat16)}
    if compile:
        models["nfvae, compiled"] = partial(Ours, flow, compiled=True)
        models["nfvae, compiled, bfloat16"] = partial(Ours, flow, compiled=True, precision=torch.bfloat16)
    return models


def steps(asked, images):
    print("\n| training step | library | time | to nfvae |\n|---|---|---|---|")
    for flow in asked.flows:
        for batch in asked.batches:
            count = asked.steps or (100 if batch < 500 else 20)
            calls = {}
            torch.compiler.reset()  # after some eight models of one process there would be no more compiling
            for name, make in (ours(flow, asked.compile) | PEERS[flow]).items():
                with if_installed(name):
                    calls[name] = step_loop(make(), images, batch, count)
            fitted = "nfvae fit, compiled" if asked.compile else "nfvae fit"
            calls[fitted] = partial(run_fit, flow, batch, count, asked.data_root, compile=asked.compile)
            if flow != "none":
                with if_installed("pythae"):
                    calls["pythae, not amortized, its trainer"] = PythaeTrainer(flow, images, batch, count)
            show(f"{flow}, {batch}", medians(calls, asked.rounds))


def likelihoods(asked, images):
    count, samples = asked.images, asked.samples
    print(f"\n| likelihood, {count} images x {samples:,} samples | library | time | to nfvae |\n|---|---|---|---|")
    x = bernoulli_draw(images[:count])
    for flow in ("planar", "iaf"):
        model = build_module(flow).model.eval()
        calls = {"nfvae": partial(seconds, partial(log_likelihood, model, x, samples))}
        if flow == "iaf":
            with if_installed("zuko"):
                by_zuko = partial(straightforward, Script(ZukoIAF()).log_weight, x, samples, 100)
                calls["zuko, a plain loop"] = partial(seconds, by_zuko)
        with if_installed("pythae"):
            get_nll = torch.no_grad()(pythae_model(flow).eval().get_nll)
            calls["pythae, get_nll"] = partial(seconds, partial(get_nll, x, samples, 100))
        show(flow, medians(calls, max(1, asked.rounds // 3)))


TABLES = {"step": steps, "likelihood": likelihoods}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=TABLES)
    parser.add_argument("--flows", nargs="+", default=list(DEPTH))
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 1000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data-root", type=Path, default=os.environ.get("NFVAE_DATA", "data"))
    parser.add_argument("--steps", type=int, help="timed in each round; without it 100, or 20 of large batches")
    parser.add_argument("--images", type=int, default=20, help="of a likelihood")
    parser.add_argument("--samples", type=int, default=5000, help="of an image's likelihood")
    compile = argparse.BooleanOptionalAction
    parser.add_argument("--compile", action=compile, default=True, help="time the compiled steps too")
    asked = parsed(parser, rounds=1, batches=[128], steps=2, images=2, samples=100, compile=False)
    print_machine()
    images = build_data(128, asked.data_root).splits.train
    asked.data_root = Path(asked.data_root).resolve()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name in asked.tables:
            TABLES[name](asked, images)


if __name__ == "__main__":
    main()
