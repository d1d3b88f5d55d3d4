"""The base class of priors."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn
from torch.distributions import Distribution
from typing_extensions import override

from nfvae.models.likelihoods import Statistics
from nfvae.models.posterior import Posterior


class Prior(nn.Module, ABC):
    """A module that returns p(z), or p(z|y) for conditions y.

    The constructor takes `latent`, D; `spec`, the form of the data; then its options. If `takes_condition`, it also
    takes `conditions`, the size C of y, which is 0 for p(z).

    Attributes:
        is_of_posterior: whether it uses the model's posterior. Its option `posterior`, settings of `make_posterior`,
            then gives it its own posterior.
        takes_condition: whether it can be p(z|y).
    """

    is_of_posterior: ClassVar[bool] = False
    takes_condition: ClassVar[bool] = False

    @abstractmethod
    @override
    def forward(self, *condition: Tensor) -> Distribution:
        """Return p(z) with event shape (D,); for conditions with shape (B, C), if it has them, p(z|y) with batch B."""

    def attach(self, posterior: Posterior) -> None:
        """Store the model's posterior in a prior that uses it; called once, when the model is built."""

    def init_from(self, statistics: Statistics) -> None:
        """Initialize a data-dependent prior from statistics of the training data."""

    def alone(self) -> dict[str, Tensor]:
        """Return the prior's state, usable without the model it was trained in."""
        return self.state_dict()
