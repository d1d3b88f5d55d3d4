"""Density estimation: fit a flow to vectors by maximum likelihood, or distill it from a trained flow."""

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.estimators import KL_GRADIENTS, reverse_kl
from nfvae.flows import FlowDensity, FlowDistribution, check_exact, make_density
from nfvae.models import check_flow
from nfvae.models.rows import split_rows
from nfvae.registry import check_choice, check_number, options_of
from nfvae.training.module import TrainingModule
from nfvae.training.recorder import condition_of


class DensityEstimation(TrainingModule):
    """Fit a flow to vectors by maximum likelihood, which minimizes the forward KL from data to model.

    Logged, in nats per vector: `nll` of the data.

    Args:
        flow: name of the flow in `nfvae.flows.FLOWS`, or "package.module:Class" of your own.
        depth: number of layers of the flow.
        flow_options: options of the flow's class.
        standardize: whether the flow sees the data with mean 0 and deviation 1; log-densities are those of the data.
        base: name of the density before the flow in `nfvae.flows.BASES`: `normal`, `student`, `uniform` or `mixture`.
        base_options: options of the base's class, such as `components: 20` for mixture.
        support: support of the data: `real`, `positive`, `unit` for (0, 1), or the two ends of an interval.
        shape: shape of a vector; the command line takes it from the data set.
        levels: None, for real numbers.
        training: arguments of `TrainingModule`.

    Raises:
        ValueError: for an unknown name or option, or a value out of range.

    References:
        Masked Autoregressive Flow for Density Estimation, arXiv 1705.07057.

    Example:
        >>> DensityEstimation(flow="planar", depth=4).model().rsample((5,)).shape
        torch.Size([5, 2])
    """

    kind = "density"
    task = "density"
    architecture = tuple(options_of(make_density))
    pictures = ("density",)
    monitor, mode = "val/nll", "min"
    clip = 10.0
    model: FlowDensity

    def __init__(
        self,
        flow: str = "maf",
        depth: int = 8,
        flow_options: dict[str, Any] | None = None,
        standardize: bool = True,
        base: str = "normal",
        base_options: dict[str, Any] | None = None,
        support: str | list[float] = "real",
        shape: list[int] = [2],  # noqa: B006  (as in TrainingModule)
        levels: int | None = None,
        **training: Any,
    ) -> None:
        super().__init__(shape=shape, levels=levels, **training)
        self.model = make_density(**{name: self.hparams[name] for name in self.architecture})

    @override
    def check_model(self) -> None:
        if self.spec.levels is not None or self.spec.missing:
            raise ValueError(
                f"a density is fitted to vectors of real numbers without missing values; got {self.spec}: leave out "
                "rows or columns, impute, or fit a VAE"
            )
        flow = self.model.flow
        check_flow(flow, torch.zeros(1, flow.context) if flow.context else None)

    @override
    def setup(self, stage: str) -> None:
        """Standardize by the training set, if the data come from a data module of nfvae."""
        super().setup(stage)
        splits = getattr(getattr(self.trainer, "datamodule", None), "splits", None)
        if stage == "fit" and splits is not None:
            self._init_from(splits.train)

    @override
    def as_batch(self, batch: Any, first: bool) -> Tensor:
        """Return the vectors of a batch; in a fit on your own data, the first batch sets the standardization."""
        data = super().as_batch(batch, first)
        if self.spec.conditions and data.shape[1:] == (self.spec.size,):
            data = torch.cat([data, condition_of(batch, self.spec.conditions).to(data)], 1)
        if first and self.trainer.state.fn == "fit":
            self._init_from(data[:, : self.spec.size])
        return data

    def _init_from(self, x: Tensor) -> None:
        condition = x.new_zeros(len(x), self.spec.conditions) if self.spec.conditions else None
        self.model.init_from(x.to(self.dtype), condition)

    @override
    def loss_and_metrics(self, batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the NLL of the data, in nats per vector."""
        loss = -self.model.log_prob(batch).mean()
        return loss, {"nll": loss.detach()}

    @override
    def evaluation_metrics(self, split: str, batch: Tensor) -> dict[str, Tensor]:
        """Return the NLL of the data."""
        if split == "test":
            check_exact("the NLL of a test", self.model)
        return {"nll": -self.model.log_prob(batch).mean()}

    @override
    def predict_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Return as many samples as the batch has vectors, with shape (B, D); of p(x|y), one for each condition."""
        condition = split_rows(self.as_batch(batch, batch_idx == 0), self.spec)[1]
        samples: Tensor = self.model(condition).rsample(() if self.spec.conditions else (len(batch),))
        return samples


class ReverseKL(DensityEstimation):
    """What the fits by the reverse KL share: a weight of the target's log-density, which rises to 1 in a warm-up."""

    first_weight: ClassVar[float]  # when a warm-up starts
    metric: ClassVar[str]
    weight: Tensor

    def log_target(self, z: Tensor) -> Tensor:
        """Return the target's log-density at points with shape (*, D)."""
        raise NotImplementedError

    @property
    @override
    def is_warming_up(self) -> bool:
        return bool(self.weight < 1)

    @override
    def anneal(self, step: int, epochs: float) -> None:
        """Set the weight of the target's log-density."""
        if warmup := self.hparams["warmup_epochs"]:
            self.weight.fill_(min(1.0, self.first_weight + (1 - self.first_weight) * epochs / warmup))

    @override
    def loss_and_metrics(self, batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss on B samples, where B is the batch size, and the metric at full weight, in nats."""
        return self.weighted_loss(len(batch), self.weight)

    def weighted_loss(self, samples: int, weight: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss, with the target's log-density weighted, and the metric, at full weight."""
        seen: list[Tensor] = []

        def weighted(z: Tensor) -> Tensor:
            seen.append(self.log_target(z))
            return weight * seen[0]

        loss = reverse_kl(self.model(), weighted, samples, path=self.hparams["gradient"] == "path")
        return loss, {self.metric: (loss - (1 - weight) * seen[0].mean()).detach()}


class DensityDistillation(ReverseKL):
    """Distill a teacher's density into a flow by the reverse KL on the flow's own samples, without data.

    Logged, in nats per vector: `reverse_kl`, with the teacher at full weight; in validation also `nll` of the data.

    Args:
        teacher: folder of the teacher's run, or a checkpoint of a density; read only for training.
        warmup_epochs: epochs over which the weight of the teacher's log-density rises from 0.1 to 1; a student that
            starts wide finds modes that it would otherwise drop (arXiv 1505.05770, equation 20).
        gradient: gradient estimator: `plain`, or `path`, whose noise vanishes as the student reaches its teacher (see
            `nfvae.estimators.path_draw`).
        training: arguments of `DensityEstimation`.

    Raises:
        ValueError: for an unknown name or option, or a value out of range; before training, for a teacher that is not
            a density, has another shape, or was trained on another data set.
        FileNotFoundError: before training, if there is no such teacher.

    References:
        Parallel WaveNet: Fast High-Fidelity Speech Synthesis, arXiv 1711.10433.
    """

    task = "distill_density"
    monitor = "val/reverse_kl"
    first_weight, metric = 0.1, "reverse_kl"

    def __init__(self, teacher: str | Path, warmup_epochs: int = 0, gradient: str = "plain", **training: Any) -> None:
        super().__init__(**training)
        check_choice("distillation gradient", self.hparams["gradient"], KL_GRADIENTS)
        check_number("warmup_epochs", self.hparams["warmup_epochs"], least=0)
        self.register_buffer("weight", torch.ones(()), persistent=False)

    @override
    def log_target(self, z: Tensor) -> Tensor:
        assert self.teacher is not None
        teacher: FlowDistribution = self.teacher.model()
        return teacher.log_prob(z)

    @override
    def evaluation_metrics(self, split: str, batch: Tensor) -> dict[str, Tensor]:
        """Return the NLL of the data, and during a fit also the reverse KL."""
        metrics = super().evaluation_metrics(split, batch)
        return metrics | self.weighted_loss(len(batch), torch.ones(()))[1] if self.teacher else metrics
