"""Densities side by side: how well they fit data, and how fast they are sampled."""

import statistics
import time
from collections.abc import Mapping

import torch
from torch import Tensor

from nfvae.flows import FlowDistribution
from nfvae.runs.tables import Column, Table


@torch.no_grad()
def draw_seconds(density: FlowDistribution, blocks: int, samples: int, repeats: int = 3) -> float:
    """Return the seconds for some blocks of samples per batch element: the median over repeats, after a warm-up."""
    seconds = []
    for repeat in range(1 + repeats):
        start = time.perf_counter()
        for _ in range(blocks if repeat else 1):
            drawn: Tensor = density.sample(torch.Size([samples]))  # type: ignore[no-untyped-call]
            float(drawn.sum())  # waits for the device
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


@torch.no_grad()
def density_table(densities: Mapping[str, FlowDistribution], data: Tensor, samples: int = 100_000) -> Table:
    """Compare densities by name: NLL of data with shape (N, D), in nats per vector, and the sampling time.

    A flow without exact log-determinants has no NLL here.
    """
    rows = []
    for name, density in densities.items():
        row = {"density": name, "nll": None, "nll_se": None, "seconds": draw_seconds(density, 1, samples)}
        if density.bijection.exact:
            nll = -density.log_prob(data)
            row |= {"nll": float(nll.mean()), "nll_se": float(nll.std()) / len(nll) ** 0.5}
        rows.append(row)
    columns = [
        Column("density", "density"),
        Column("nll", "NLL, nats per vector", 4, "nll_se"),
        Column("seconds", f"{samples:,} samples, s", 4),
    ]
    return Table(rows, columns)
