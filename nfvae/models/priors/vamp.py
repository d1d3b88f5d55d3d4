"""A mixture of the model's own posteriors as a prior."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from nfvae.flows.mixture import Mixture
from nfvae.models.likelihoods import DataSpec, Statistics
from nfvae.models.posterior import Posterior, make_posterior
from nfvae.models.priors.base import Prior
from nfvae.registry import check_sizes

_PIXEL = 1e-2  # smallest initial probability of a pseudo-input's pixel
_LOGIT_SPREAD = 1.0  # initial standard deviation of a pseudo-input's logits


class VampPrior(Prior):
    """The mean of the posteriors of K trained pseudo-inputs.

    A sigmoid keeps the pixels of the pseudo-inputs in (0, 1), where the reference clips them; real numbers are free.
    They start around the means of the training data.

    Args:
        latent: latent size D.
        spec: form of the data.
        components: number of pseudo-inputs, K.
        flow: whether the posteriors include their flow, whose inverse then gives each component's density; if not,
            they are Gaussians.
        posterior: settings of `make_posterior` for the prior's own posterior, as a student's prior keeps its teacher's;
            by default the model's posterior.

    Raises:
        ValueError: for a number of components out of range, or a `flow` that is not a bool.

    References:
        VAE with a VampPrior, arXiv 1705.07120.
    """

    is_of_posterior = True
    started: Tensor

    def __init__(
        self,
        latent: int,
        spec: DataSpec,
        components: int = 500,
        flow: bool = False,
        posterior: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_sizes(components=components)
        if not isinstance(flow, bool):
            raise ValueError(f"flow of a VampPrior is true or false, whether with the posterior's; got {flow!r}")
        self.flow = flow
        self.is_real = spec.levels is None
        self.logits = nn.Parameter(_LOGIT_SPREAD * torch.randn(components, spec.size))
        self.register_buffer("started", torch.tensor(False))
        self.own: Posterior | None = make_posterior(**posterior) if posterior else None
        self.attached: tuple[Posterior, ...] = ()  # a tuple keeps the model's part from becoming a part of the prior

    @override
    def attach(self, posterior: Posterior) -> None:
        """Store the model's posterior."""
        self.attached = (posterior,)

    @torch.no_grad()
    @override
    def init_from(self, statistics: Statistics) -> None:
        """Initialize the pseudo-inputs around the means of the training data, once."""
        if not self.started:
            if self.is_real:
                self.logits.mul_(statistics.deviation).add_(statistics.mean)
            else:
                self.logits.add_(torch.logit(statistics.mean, eps=_PIXEL))
            self.started.fill_(True)

    @override
    def alone(self) -> dict[str, Tensor]:
        """Return the state of the prior and of the posterior that it uses."""
        if self.own is not None:
            return self.state_dict()
        return self.state_dict() | {f"own.{name}": value for name, value in self.attached[0].state_dict().items()}

    @override
    def forward(self, *condition: Tensor) -> Mixture:
        posterior: Posterior = self.attached[0] if self.own is None else self.own
        density = posterior(self.logits if self.is_real else torch.sigmoid(self.logits))
        return Mixture(density if self.flow else density.base, self.logits.new_zeros(len(self.logits)))
