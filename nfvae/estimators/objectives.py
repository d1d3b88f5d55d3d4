"""Training objectives, by name."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import override

from nfvae.estimators.bounds import elbo, iwae
from nfvae.models import LogTerms
from nfvae.registry import Registry, check_choice, check_number

BETA_SCHEDULES = ("linear", "by_steps")


class Objective(nn.Module, ABC):
    """Turn log-densities into the objective that training maximizes. The constructor takes its options.

    Attributes:
        bound: metric whose validation value selects the best epoch: `elbo`, or a name of `metrics`.
        weighs_samples: whether the samples of an image are weighted against each other.
    """

    bound: ClassVar[str] = "elbo"
    weighs_samples: ClassVar[bool] = False

    @abstractmethod
    @override
    def forward(self, terms: LogTerms) -> Tensor:
        """Return the objective, a scalar in nats per image, for log-densities with shape (K, B)."""

    def anneal(self, step: int, epochs: float) -> None:
        """Update the quantities that change during training; called before each training step.

        Args:
            step: optimizer steps done.
            epochs: epochs done, with fractions.
        """

    @property
    def is_warming_up(self) -> bool:
        """Whether the objective does not have its final form yet."""
        return False

    @property
    def is_plain(self) -> bool:
        """Whether this is the evidence lower bound itself, at every step."""
        return False

    def metrics(self, objective: Tensor) -> dict[str, Tensor]:
        """Return by name the metrics to log besides the ELBO and its parts, given the objective's value."""
        return {}


class ELBO(Objective):
    """The evidence lower bound: see `nfvae.estimators.elbo`.

    Args:
        beta: final weight of the KL.
        beta_schedule: schedule of the KL weight: `linear` or `by_steps` (see `beta_at`).
        warmup_epochs: epochs in which `linear` reaches the final weight; with 0, it is reached from the first step.
        free_bits: nats of KL per image that are not penalized.

    Raises:
        ValueError: for an unknown schedule, `by_steps` with warm-up epochs, or a negative number.
    """

    beta: Tensor

    def __init__(
        self, beta: float = 1.0, beta_schedule: str = "linear", warmup_epochs: int = 0, free_bits: float = 0.0
    ) -> None:
        super().__init__()
        check_choice("beta schedule", beta_schedule, BETA_SCHEDULES)
        check_number("beta", beta, least=0)
        check_number("warmup_epochs", warmup_epochs, least=0)
        check_number("free_bits", free_bits, least=0)
        if beta_schedule == "by_steps" and warmup_epochs:
            raise ValueError(f"beta_schedule by_steps counts steps, not warmup_epochs; got {warmup_epochs}")
        self.final_beta, self.schedule, self.warmup_epochs = beta, beta_schedule, warmup_epochs
        self.free_bits = free_bits
        self.register_buffer("beta", torch.tensor(beta), persistent=False)

    @property
    @override
    def is_plain(self) -> bool:
        return self._is_constant and self.final_beta == 1 and not self.free_bits

    @property
    def _is_constant(self) -> bool:
        return self.schedule == "linear" and not self.warmup_epochs

    @override
    def forward(self, terms: LogTerms) -> Tensor:
        return elbo(terms, self.beta, self.free_bits)

    @override
    def anneal(self, step: int, epochs: float) -> None:
        """Set the weight of the KL."""
        if not self._is_constant:
            self.beta.fill_(beta_at(self.schedule, step, epochs, self.warmup_epochs, self.final_beta))

    @property
    @override
    def is_warming_up(self) -> bool:
        """Whether the weight of the KL is below its final one."""
        return bool(self.beta < self.beta.new_tensor(self.final_beta))

    @override
    def metrics(self, objective: Tensor) -> dict[str, Tensor]:
        """Return the weight of the KL in training."""
        return {"beta": self.beta.clone()} if self.training else {}


class IWAE(Objective):
    """The importance-weighted bound of the step's samples: see `nfvae.estimators.iwae`."""

    bound: ClassVar[str] = "iwae"
    weighs_samples: ClassVar[bool] = True

    @override
    def forward(self, terms: LogTerms) -> Tensor:
        return iwae(terms)

    @override
    def metrics(self, objective: Tensor) -> dict[str, Tensor]:
        """Return the bound."""
        return {"iwae": objective.detach()}


OBJECTIVES = Registry(
    "objective",
    Objective,  # type: ignore[type-abstract]
    {
        "elbo": "nfvae.estimators.objectives:ELBO",
        "iwae": "nfvae.estimators.objectives:IWAE",
    },
)


def make_objective(name: str, options: Mapping[str, Any] | None = None) -> Objective:
    """Build an objective from its name in `OBJECTIVES`, or from "package.module:Class" of your own.

    Raises:
        ValueError: for an unknown name or option, or a value that the objective rejects.
    """
    return OBJECTIVES.make(name, options)


def beta_at(schedule: str, step: int, epochs: float, warmup_epochs: int = 0, beta: float = 1.0) -> float:
    """Return the current KL weight β.

    - `linear`: β min(1, t/T), where t is the number of epochs done, with fractions, and T the number of warm-up
      epochs; β if T = 0.
    - `by_steps`: β min(1, 0.01 + t/10000), where t is the step. In the paper it weights log p(x, z), which includes
      log p(x|z); here it weights the KL, as `linear` does.

    Args:
        schedule: one of the names above.
        step: optimizer steps done.
        epochs: epochs done, with fractions.
        warmup_epochs: T of `linear`.
        beta: the final weight.

    Raises:
        ValueError: for an unknown schedule.

    References:
        Variational Inference with Normalizing Flows, arXiv 1505.05770.
    """
    check_choice("beta schedule", schedule, BETA_SCHEDULES)
    if schedule == "linear":
        return beta * min(1.0, epochs / warmup_epochs) if warmup_epochs else beta
    return beta * min(1.0, 0.01 + step / 10_000)
