"""Fit a flow to an unnormalized density by the reverse KL, without data."""

from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.estimators import KL_GRADIENTS
from nfvae.registry import check_choice, check_number
from nfvae.targets import check_target, load_target
from nfvae.training.density import ReverseKL


class EnergyEstimation(ReverseKL):
    """Fit a flow to an unnormalized log-density log p̃, by the reverse KL on the flow's own samples.

    Logged, in nats: `free_energy` E_q[log q - log p̃], which is KL(q || p) - log Z and is smallest where q = p.

    Args:
        target: name of a log-density in `nfvae.targets.TARGETS`, or "package.module:function" of your own, which maps
            points with shape (*, D) to log p̃ with shape (*). D is that of the data set `noise`.
        warmup_epochs: epochs over which the inverse temperature of log p̃ rises from 0.01 to 1, so that the flow finds
            all modes while it is wide (equation 20 of the paper).
        gradient: gradient estimator: `plain`, or `path`, whose noise vanishes as the flow reaches the target.
        flow: as for `DensityEstimation`.
        depth: as for `DensityEstimation`.
        standardize: as for `DensityEstimation`.
        training: arguments of `DensityEstimation`.

    Raises:
        ValueError: for an unknown name or option, or a value out of range.

    References:
        Variational Inference with Normalizing Flows, arXiv 1505.05770.
    """

    task = "energy"
    pictures = ("energy",)
    monitor, mode = "val/free_energy", "min"
    first_weight, metric = 0.01, "free_energy"  # the weight is the inverse temperature

    def __init__(
        self,
        target: str = "u1",
        warmup_epochs: int = 0,
        gradient: str = "plain",
        flow: str = "planar",
        depth: int = 32,
        standardize: bool = False,
        **training: Any,
    ) -> None:
        super().__init__(flow=flow, depth=depth, standardize=standardize, **training)
        check_choice("energy gradient", self.hparams["gradient"], KL_GRADIENTS)
        check_number("warmup_epochs", self.hparams["warmup_epochs"], least=0)
        self.log_density = load_target(self.hparams["target"])
        self.register_buffer("weight", torch.ones(()), persistent=False)

    @override
    def check_model(self) -> None:
        super().check_model()
        check_target(self.log_density, self.spec.size)

    @override
    def log_target(self, z: Tensor) -> Tensor:
        log_density: Tensor = self.log_density(z)
        return log_density

    @override
    def evaluation_metrics(self, split: str, batch: Tensor) -> dict[str, Tensor]:
        """Return the free energy of as many samples as the batch has rows."""
        return self.weighted_loss(len(batch), torch.ones(()))[1]
