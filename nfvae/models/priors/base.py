"""What a prior is."""

from abc import ABC, abstractmethod

from torch import nn
from torch.distributions import Distribution


class Prior(nn.Module, ABC):
    """A module that returns p(z). The constructor takes `latent`, D, then its options."""

    @abstractmethod
    def forward(self) -> Distribution:
        """Return p(z) with event shape (D,)."""
