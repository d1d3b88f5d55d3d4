"""Time a training step: `nfvae fit` against a bare PyTorch loop over the same modules and against the arithmetic floor.

    python benchmarks/training.py [--rounds 5] [--flows planar radial iaf] [--batches 128 1000] [--compile] [--quick]

Each round runs the variants one after the other, so that a drift of the machine's speed meets all of them; medians over
rounds are printed. `nfvae fit` runs as from the command line, progress bar, metrics.csv and offline wandb on. The floor
is the matrix arithmetic of one step divided by the fastest product of two 2048x2048 matrices measured in the run.
"""

import argparse
import contextlib
import io
import os
import statistics
import tempfile
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from common import StepLoop, build_data, build_module, configs, matrix_rate, parsed, print_machine
from torch.utils.flop_counter import FlopCounterMode

from nfvae import DataModule, FlowVAE
from nfvae.commands.fit import fit
from nfvae.commands.plan import Plan
from nfvae.runs.tracking import finish

WARM_UP = 30
NEVER = 1000  # an epoch that no measurement comes to


class BareLoop(StepLoop):
    """What `nfvae fit` trains, without Lightning."""

    def __init__(self, module: FlowVAE, data: DataModule, batch: int, compile: bool) -> None:
        self.module = module
        step = torch.compile(module.loss_and_metrics) if compile else module.loss_and_metrics
        super().__init__(lambda x: step(x)[0], module.parameters(), data.splits.train, batch)

    def flops(self):
        """Matrix arithmetic of one step."""
        x = torch.zeros(self.batch, self.images.shape[1])
        with FlopCounterMode(display=False) as counter:
            self.module.loss_and_metrics(x)[0].backward()
        return counter.get_total_flops()


class Clock(pl.Callback):
    """Times the steps after the warm-up, from batch to batch."""

    def __init__(self, steps):
        self.steps, self.start, self.seconds = steps, 0.0, float("nan")

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == WARM_UP:
            self.start = time.perf_counter()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == WARM_UP + self.steps:
            self.seconds = (time.perf_counter() - self.start) / self.steps


def run_fit(flow, batch, steps, data_root, compile):
    """Seconds a step of `nfvae fit`; validation is left out, as the bare loop has none."""
    clock = Clock(steps)
    arguments = [*(word for path in configs(flow) for word in ("-c", path)),
                 "--data.batch_size", batch, "--data.root", data_root,
                 "--trainer.max_steps", WARM_UP + steps + 1,
                 "--trainer.max_epochs", NEVER, "--trainer.check_val_every_n_epoch", NEVER,
                 "--overwrite", "true", "--model.compile", "true" if compile else "false"]  # fmt: skip
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        fit(Plan([str(argument) for argument in arguments]), callbacks=[clock])
        finish()
    return clock.seconds


def measure(flow, batch, rounds, steps, data_root, compile):
    steps = steps or (200 if batch < 500 else 50)
    module, data = build_module(flow), build_data(batch, data_root)
    bare = BareLoop(module, data, batch, compile)
    times = {"bare": [], "fit": [], "floor": []}
    for _ in range(rounds):
        times["floor"].append(bare.flops() / matrix_rate())
        times["bare"].append(bare.run(steps, WARM_UP))
        times["fit"].append(run_fit(flow, batch, steps, data_root, compile))
    bare_ms, fit_ms, floor_ms = (1e3 * statistics.median(times[name]) for name in ("bare", "fit", "floor"))
    ratio = statistics.median(fit / bare for fit, bare in zip(times["fit"], times["bare"], strict=True))
    extra = statistics.median(fit - bare for fit, bare in zip(times["fit"], times["bare"], strict=True))
    over = statistics.median(bare / floor for bare, floor in zip(times["bare"], times["floor"], strict=True))
    print(f"| {flow} | {batch} | {'yes' if compile else 'no'} | {floor_ms:.2f} | {bare_ms:.2f} | {fit_ms:.2f} "
          f"| {ratio:.2f} | {1e3 * extra:+.2f} | {over:.2f} |", flush=True)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--flows", nargs="+", default=["none", "planar", "radial", "iaf"])
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 1000])
    parser.add_argument("--steps", type=int, help="timed in each round; without it 200, or 50 of large batches")
    parser.add_argument("--compile", action="store_true", help="compile the step, in both loops")
    parser.add_argument("--data-root", type=Path, default=os.environ.get("NFVAE_DATA", "data"))
    asked = parsed(parser, rounds=1, flows=["planar"], batches=[128], steps=2)
    root = Path(asked.data_root).resolve()
    print_machine(f"{matrix_rate() / 1e9:.0f} GFLOP/s")
    print(
        "| flow | batch | compiled | floor, ms | bare loop, ms | nfvae fit, ms | fit/bare | fit-bare, ms | bare/floor |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for batch in asked.batches:
            for flow in asked.flows:
                measure(flow, batch, asked.rounds, asked.steps, root, asked.compile)


if __name__ == "__main__":
    main()
