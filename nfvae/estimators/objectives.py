"""What training maximizes, by name."""

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
    """A module that turns log-densities into what training maximizes. The constructor takes its options.

    Attributes:
        bound: the metric whose validation tells the best epoch: `elbo`, or a name of `metrics`.
        weighs_samples: whether the samples of an image are weighed against each other.
    """

    bound: ClassVar[str] = "elbo"
    weighs_samples: ClassVar[bool] = False

    @abstractmethod
    @override
    def forward(self, terms: LogTerms) -> Tensor:
        """Return the objective, a scalar in nats per image, for log-densities with shape (K, B)."""

    def anneal(self, step: int, epochs: float) -> None:
        """Set whatever changes in the course of training; called before each training step.

        Args:
            step: optimizer steps done.
            epochs: epochs done, batches counted as fractions.
        """

    @property
    def is_warming_up(self) -> bool:
        """Whether the objective has not yet its final form."""
        return False

    @property
    def is_plain(self) -> bool:
        """Whether this is the evidence lower bound itself, at every step."""
        return False

    def metrics(self, objective: Tensor) -> dict[str, Tensor]:
        """Return by name what is logged beside the ELBO and its parts, given the value of the objective."""
        return {}


class ELBO(Objective):
    """The evidence lower bound: see `nfvae.estimators.elbo`.

    Args:
        beta: final weight of the KL.
        beta_schedule: `linear` or `by_steps`: see `beta_at`.
        warmup_epochs: epochs that `linear` takes to the final weight; without any, it is that from the first step.
        free_bits: nats an image of KL that cost nothing.

    Raises:
        ValueError: for an unknown schedule, `by_steps` with epochs, or a negative number.
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
        ValueError: for an unknown name or option, or a value that the objective refuses.
    """
    return OBJECTIVES.make(name, options)


def beta_at(schedule: str, step: int, epochs: float, warmup_epochs: int = 0, beta: float = 1.0) -> float:
    """Return the KL weight β in force.

    - `linear`: β min(1, t/T), t the time in epochs, batches counted as fractions, and T the epochs of warm-up; β
      without any.
    - `by_steps`: β min(1, 0.01 + t/10000), t the step. The paper weighs log p(x, z) with it, log p(x|z) included; here
      it weighs the KL, as the other schedule does.

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
