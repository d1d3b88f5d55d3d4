"""Density estimation: a flow fitted to vectors by maximum likelihood, or taught by one that was."""

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nfvae.distributions import DiagonalNormal, FlowDistribution
from nfvae.divergences import reverse_kl
from nfvae.flows import Flow, make_flow
from nfvae.learner import Learner
from nfvae.runs import check_same_data, load

_FIRST_WEIGHT = 0.1  # of the teacher's log-density in a warm-up


class FlowDensity(nn.Module):
    """A density of vectors: a free diagonal Gaussian refined by a flow without context.

    Args:
        flow: the flow, with context 0.
    """

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(flow.features))
        self.log_scale = nn.Parameter(torch.zeros(flow.features))
        self.flow = flow

    def forward(self) -> FlowDistribution:
        """Return the density, with event shape (D,)."""
        return FlowDistribution(DiagonalNormal(self.loc, self.log_scale.exp()), self.flow())


class DensityEstimation(Learner):
    """Fit a flow to vectors (Rezende & Mohamed, 2015; Papamakarios et al., 2017), or distil it from a fitted one.

    Without a teacher by maximum likelihood, which is the forward KL from data to model; with one by the reverse KL from
    the student's own draws (van den Oord et al., 2018), which looks at no data. Logged, in nats per vector: `nll` of
    the data, and with a teacher `reverse_kl`, by which the student is judged; in a warm-up the training's is
    the weighted one.

    Args:
        flow: a name in `nfvae.flows.FLOWS`, or "package.module:Class" of one's own.
        depth: layers of the flow.
        flow_options: further arguments of the flow's class.
        teacher: the folder of the teacher's run, or its checkpoint; None fits the data.
        warmup_epochs: epochs over which the teacher's log-density gains its full weight, from a tenth of it: a student
            that starts wide finds modes that it would otherwise drop (Rezende & Mohamed, 2015, equation 20).
        optimizer: `adam` or `adamax`.
        lr: learning rate.
        schedule: `constant`, `cosine` or `multistep`.
        milestones: epochs at which `multistep` divides the rate by 10.
        compile: whether the training step goes through `torch.compile`.
        features: D, numbers of a vector; the command line takes it from the data set.

    Raises:
        FileNotFoundError: if there is no such teacher.
        ValueError: for an unknown name or a value out of range, or a teacher that is no `DensityEstimation`; before
            training, for data of another size or data set than the teacher's.

    Example:
        >>> DensityEstimation(flow="planar", depth=4).model().rsample((5,)).shape
        torch.Size([5, 2])
    """

    size = "features"
    architecture = ("flow", "depth", "flow_options", "features")
    clip = 10.0

    def __init__(
        self,
        flow: str = "maf",
        depth: int = 8,
        flow_options: dict[str, Any] | None = None,
        teacher: str | Path | None = None,
        warmup_epochs: int = 0,
        optimizer: str = "adam",
        lr: float = 1e-3,
        schedule: str = "constant",
        milestones: list[int] = [],  # noqa: B006  (as in FlowVAE)
        compile: bool = False,
        features: int = 2,
    ) -> None:
        super().__init__()
        teacher = str(teacher) if teacher else None
        self.save_hyperparameters()
        self.check_choices()
        self.model = FlowDensity(make_flow(flow, features, 0, depth, **(flow_options or {})))
        self.weight: Tensor
        self.register_buffer("weight", torch.ones(()), persistent=False)
        self.judged_by = ("reverse_kl" if teacher else "nll", "min")
        if teacher:
            module = load(DensityEstimation, Path(teacher), teacher=None).requires_grad_(False)
            if (size := module.hparams["features"]) != features:
                raise ValueError(f"the teacher has {size} features; the student {features}")
            self._teacher = (module.model,)

    def loss_and_metrics(self, batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what is minimised, in nats per vector: the NLL, or for a student the reverse KL of as many draws."""
        if not self._teacher:
            loss = -self.model().log_prob(batch).mean()
            return loss, {"nll": loss.detach()}
        teacher = self._teacher[0]()
        loss = reverse_kl(self.model(), lambda z: self.weight * teacher.log_prob(z), len(batch))
        return loss, {"reverse_kl": loss.detach()}

    def evaluation_metrics(self, split: str, batch: Tensor) -> dict[str, Tensor]:
        """Return the NLL of the data, and for a student the reverse KL."""
        metrics = {"nll": -self.model().log_prob(batch).mean()}
        if self._teacher:
            metrics["reverse_kl"] = reverse_kl(self.model(), self._teacher[0]().log_prob, len(batch))
        return metrics

    def check_data(self, data: Any) -> None:
        """Refuse data of another size, or of another data set than the teacher's.

        Raises:
            ValueError: for such data.
        """
        super().check_data(data)
        if self.hparams["teacher"]:
            check_same_data(Path(self.hparams["teacher"]), data)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Set the weight of the teacher's log-density, then take the step."""
        if warmup := self.hparams["warmup_epochs"]:
            share = self.epochs_done(batch_idx) / warmup
            self.weight.fill_(min(1.0, _FIRST_WEIGHT + (1 - _FIRST_WEIGHT) * share))
        return super().training_step(batch, batch_idx)

    def predict_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Return as many draws as the batch has vectors, with shape (B, D)."""
        draws: Tensor = self.model().rsample((len(batch),))
        return draws


@torch.no_grad()
def draw_seconds(density: FlowDistribution, blocks: int, draws: int, repeats: int = 3) -> float:
    """Time some blocks of draws of each element of the batch, the median of some repeats after a block to warm up."""
    seconds = []
    for repeat in range(1 + repeats):
        start = time.perf_counter()
        for _ in range(blocks if repeat else 1):
            float(density.rsample(torch.Size([draws])).sum())  # which waits for the device
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


@torch.no_grad()
def density_table(densities: Mapping[str, FlowDistribution], data: Tensor, draws: int = 100_000) -> str:
    """Compare densities by name: NLL of the data with shape (N, D), in nats per vector, and the time of many draws."""
    lines = [f"| density | NLL | ± | seconds for {draws:,} draws |", "|---|---|---|---|"]
    for name, density in densities.items():
        nll = -density.log_prob(data)
        error = float(nll.std()) / len(nll) ** 0.5
        lines.append(f"| {name} | {float(nll.mean()):.4f} | {error:.4f} | {draw_seconds(density, 1, draws):.4f} |")
    return "\n".join(lines)
