"""The likelihood p(x|z): independent Bernoulli pixels, from logits."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent

from nfvae.networks import mlp
from nfvae.numerics import softplus_sum


class BernoulliPixels(Independent):  # type: ignore[type-arg]  # not generic at run time
    """Independent Bernoulli pixels, given by their logits with shape (*, P)."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__(Bernoulli(logits=logits, validate_args=False), 1, validate_args=False)
        self.logits = logits

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(value) with shape (*), in nats, for pixels with shape (*, P)."""
        return (value * self.logits).sum(-1) - softplus_sum(self.logits)


class BernoulliDecoder(nn.Module):
    """Decode latents into p(x|z) (Kingma & Welling, 2014), never leaving the logits.

    Args:
        features: D.
        pixels: P.
        hidden: widths of the MLP.
        activation: a key of `nfvae.networks.ACTIVATIONS`.
    """

    def __init__(
        self, features: int, pixels: int, hidden: Sequence[int] = (300, 300), activation: str = "relu"
    ) -> None:
        super().__init__()
        self.trunk = mlp(features, hidden, activation)
        self.head = nn.Linear(hidden[-1], pixels)
        with torch.no_grad():  # noise of the latents must not drown the pixel means that training starts from
            self.head.weight.mul_(0.1)
            self.head.bias.zero_()

    def forward(self, z: Tensor) -> BernoulliPixels:
        """Return p(x|z) with batch shape (*) and event shape (P,) for z with shape (*, D)."""
        return BernoulliPixels(self.head(self.trunk(z)))

    @torch.no_grad()
    def start_from(self, pixel_means: Tensor) -> None:
        """Start the output bias at the logit of the training pixel means; a bias already trained is left alone.

        Args:
            pixel_means: mean of each training pixel, in [0, 1], with shape (P,).
        """
        if not self.head.bias.any():
            self.head.bias.copy_(torch.logit(pixel_means, eps=1e-3))
