"""The variational autoencoder: three densities, evaluated together."""

import inspect
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from nfvae.flows import Draw
from nfvae.models.decoders import DECODERS, Decoder
from nfvae.models.modes import check_precision, evaluating
from nfvae.models.posterior import Options, Posterior, make_posterior
from nfvae.models.priors import PRIORS, Prior, tempered
from nfvae.numerics import as_tensor
from nfvae.registry import check_number, check_sizes

_DRAWN_AT_ONCE, _DECODED_AT_ONCE = 10_000, 250  # samples whose activations in the prior, and in the decoder, are kept


class LogTerms(NamedTuple):
    """Log-densities of K posterior samples for each of B images; each with shape (K, B), in nats.

    Attributes:
        likelihood: log p(x|z).
        prior: log p(z).
        posterior: log q(z|x).
        log_det: log|det dz_K/dz_0| of the flow, already contained in `posterior`.
    """

    likelihood: Tensor
    prior: Tensor
    posterior: Tensor
    log_det: Tensor

    @property
    def log_weight(self) -> Tensor:
        """The log importance weight log p(x, z) - log q(z|x); its mean over samples estimates the ELBO."""
        return self.likelihood + self.prior - self.posterior

    @property
    def kl(self) -> Tensor:
        """The one-sample estimate log q(z|x) - log p(z) of KL(q(z|x) || p(z))."""
        return self.posterior - self.prior


class VAE(nn.Module):
    """A latent-variable model p(z) p(x|z) with an amortized posterior q(z|x).

    Args:
        posterior: q(z|x).
        decoder: p(x|z).
        prior: p(z).
        shape: of an image; None where images are taken as they come.

    References:
        Auto-Encoding Variational Bayes, arXiv 1312.6114.
    """

    def __init__(
        self, posterior: Posterior, decoder: Decoder, prior: Prior, shape: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.posterior, self.decoder, self.prior, self.shape = posterior, decoder, prior, shape
        prior.attach(posterior)

    def forward(self, x: Tensor, samples: int = 1) -> LogTerms:
        """Draw samples from q(z|x) and evaluate every log-density at them.

        Args:
            x: binarized images with shape (B, P), of the model's floating type.
            samples: K, the number of posterior samples an image.

        Returns:
            The terms, each with shape (K, B), in nats.
        """
        check_precision(self)
        return self.log_terms(x, self.posterior(x).draw((samples,)))

    def as_images(self, x: Any) -> Tensor:
        """Make images what the model takes: a tensor with shape (B, P), of its floating type and on its device.

        Args:
            x: images with shape (B, ...) and of any type; NumPy arrays and nested lists too.

        Raises:
            ValueError: for images of another size, or with other values than 0 and 1 where pixels are Bernoulli.
        """
        images = as_tensor("images", x)
        if images.is_complex() or images.layout != torch.strided:
            raise ValueError(f"expected images in a plain tensor of real numbers; got {images.dtype}, {images.layout}")
        pixels = images[:1].numel() if self.shape is None else math.prod(self.shape)
        if images.ndim < 2 or images[:1].numel() != pixels * len(images[:1]):
            side = "" if self.shape is None else f" or (B, {', '.join(map(str, self.shape))})"
            raise ValueError(f"expected images with shape (B, {pixels}){side}; got {tuple(images.shape)}")
        weights = next(self.parameters(), None)
        images = images.flatten(1) if weights is None else images.flatten(1).to(weights.device, weights.dtype)
        if isinstance(self.decoder, Decoder) and not ((images == 0) | (images == 1)).all():
            raise ValueError(
                f"expected binary images; got values from {images.min():g} to {images.max():g}: "
                "binarize gray ones first, as torch.bernoulli(gray) for gray in [0, 1]"
            )
        return images

    def log_terms(self, x: Tensor, draw: Draw, prior: Distribution | None = None) -> LogTerms:
        """Evaluate every log-density at posterior samples with shape (K, B, D) of images with shape (B, P).

        Args:
            x: the images.
            draw: the samples.
            prior: p(z), to save making it again for many samples.
        """
        log_p = self.decoder(draw.z).log_prob(x)
        prior = self.prior() if prior is None else prior
        return LogTerms(log_p, prior.log_prob(draw.z), draw.log_prob, draw.log_det)

    def sample(self, count: int, temperature: float = 1.0) -> Tensor:
        """Draw images from the model: pixel probabilities with shape (count, P), not yet binarized.

        Args:
            count: of images.
            temperature: by which the noise of the latents is multiplied; below 1 images are more alike and cleaner.

        Raises:
            ValueError: for a count below 1, a temperature that is not above 0, or a prior that has none.
        """
        check_number("count", count, least=1)
        check_number("temperature", temperature, above=0)
        with evaluating(self):
            prior = tempered(self.prior(), temperature)
            images: Tensor | None = None
            for start in range(0, count, _DRAWN_AT_ONCE):
                latents = prior.sample((min(_DRAWN_AT_ONCE, count - start),))
                for offset in range(0, len(latents), _DECODED_AT_ONCE):
                    decoded = self.decoder(latents[offset : offset + _DECODED_AT_ONCE]).mean
                    if images is None:
                        images = decoded.new_empty(count, *decoded.shape[1:])
                    images[start + offset : start + offset + len(decoded)] = decoded
        assert images is not None
        return images

    def init_from(self, pixel_means: Tensor) -> None:
        """Start what says something of pixels from their means in the training images, with shape (P,)."""
        self.decoder.init_output_bias(pixel_means)
        self.prior.init_pixels(pixel_means)

    def encode(self, x: Tensor, samples: int = 1) -> Draw:
        """Draw posterior samples, with shape (samples, B, D), of each image that `as_images` takes."""
        check_sizes(samples=samples)
        with evaluating(self):
            draw: Draw = self.posterior(self.as_images(x)).draw((samples,))
        return draw

    def reconstruct(self, x: Tensor) -> Tensor:
        """Decode one posterior sample of each image that `as_images` takes: pixel probabilities with shape (B, P)."""
        with evaluating(self):
            probabilities: Tensor = self.decoder(self.posterior(self.as_images(x)).rsample()).mean
        return probabilities


def make_vae(
    flow: str = "iaf",
    depth: int = 4,
    flow_options: Options = None,
    context: int = 64,
    encoder: str = "mlp",
    encoder_options: Options = None,
    latent: int = 40,
    prior: str = "normal",
    prior_options: Options = None,
    decoder: str = "mlp",
    decoder_options: Options = None,
    shape: Sequence[int] = (28, 28),
) -> VAE:
    """Build a VAE from names and numbers alone. Every name may be "package.module:Class" of your own.

    Args:
        flow: a name in `nfvae.flows.FLOWS`.
        depth: layers of the flow.
        flow_options: further arguments of the flow's class; the other options are those of the other classes.
        context: C, the size of the encoder's context h for the flow; 0 makes the flow global.
        encoder: a name in `nfvae.models.ENCODERS`.
        encoder_options: as above.
        latent: D, the number of latent coordinates.
        prior: a name in `nfvae.models.PRIORS`.
        prior_options: as above.
        decoder: a name in `nfvae.models.DECODERS`.
        decoder_options: as above.
        shape: of an image.

    Raises:
        ValueError: for an unknown name or option, or a value out of range.
    """
    posterior = make_posterior(flow, depth, flow_options, context, encoder, encoder_options, latent, shape)
    made_decoder = DECODERS.make(decoder, decoder_options, latent=latent, shape=shape)
    return VAE(posterior, made_decoder, PRIORS.make(prior, prior_options, latent=latent, shape=shape), shape)


ARCHITECTURE = tuple(inspect.signature(make_vae).parameters)
"""The settings that decide what a VAE's weights are."""
