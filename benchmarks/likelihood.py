"""Time the importance-sampled likelihood against a straightforward implementation and against the arithmetic floor.

    python benchmarks/likelihood.py [--rounds 5] [--flows planar iaf] [--rows 100 128] [--samples 5000] [--quick]

The straightforward implementation repeats an image as many times as a batch has rows, runs the whole model on the
batch, and loops until it has K log-weights, without gradients. The floor is the matrix arithmetic of decoder and flow
for the same samples, divided by the fastest product of two 2048x2048 matrices of the run. Each round runs the
variants one after the other, so that a drift of the machine's speed meets all of them; medians over rounds are printed.
"""

import argparse
import statistics
from functools import partial

import torch
from common import build_module, matrix_rate, parsed, print_machine, seconds, straightforward
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.flop_counter import FlopCounterMode

from nfvae import log_likelihood


def log_weight(model, repeated):
    z, log_q, _ = model.posterior(repeated).draw()
    log_p = -binary_cross_entropy_with_logits(model.decode(z).logits, repeated, reduction="none").sum(-1)
    return log_p + torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1) - log_q


@torch.no_grad()
def flops_per_sample(model, x, rows=1000):
    """Matrix arithmetic of flow and decoder."""
    posterior = model.posterior(x[:1])
    with FlopCounterMode(display=False) as counter:
        model.decode(posterior.from_noise(torch.randn(rows, *posterior.base.loc.shape)).z)
    return counter.get_total_flops() / rows


def measure(flow, all_rows, rounds, samples, images):
    model, x = build_module(flow).model.eval(), (torch.rand(images, 784) < 0.13).float()
    total = samples * images
    variants = {"ours": lambda: log_likelihood(model, x, samples)}
    for rows in all_rows:
        variants[rows] = lambda rows=rows: straightforward(partial(log_weight, model), x, samples, rows)
    times = {name: [] for name in [*variants, "floor"]}
    for round_ in range(rounds + 1):  # the first one warms up
        floor = total * flops_per_sample(model, x) / matrix_rate()
        measured = {name: seconds(variant) for name, variant in variants.items()} | {"floor": floor}
        for name, value in measured.items():
            times[name] += [value] if round_ else []

    def ratio(one, other):
        return statistics.median(a / b for a, b in zip(times[one], times[other], strict=True))

    rate = {name: total / statistics.median(values) for name, values in times.items()}
    for rows in all_rows:
        print(f"| {flow} | {rows} | {rate['floor']:,.0f} | {rate['ours']:,.0f} | {rate[rows]:,.0f} "
              f"| {ratio('ours', 'floor'):.2f} | {ratio(rows, 'ours'):.2f} |", flush=True)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--flows", nargs="+", default=["none", "cholesky", "planar", "radial", "iaf"])
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 128], help="of the straightforward batches")
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--matmul-precision", default="highest", choices=["highest", "high", "medium"])
    asked = parsed(parser, rounds=1, flows=["planar"], rows=[100], samples=100, images=1)
    torch.set_float32_matmul_precision(asked.matmul_precision)
    print_machine(f"{matrix_rate() / 1e9:.0f} GFLOP/s")
    print("Samples a second; ours/floor, the smaller the better; straightforward/ours, the larger the better.\n")
    print("| flow | rows | floor | ours | straightforward | ours/floor | straightforward/ours |")
    print("|---|---|---|---|---|---|---|")
    for flow in asked.flows:
        measure(flow, asked.rows, asked.rounds, asked.samples, asked.images)


if __name__ == "__main__":
    main()
