"""The variational autoencoder: three densities, evaluated together."""

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from typing_extensions import override

from nfvae.flows import Draw
from nfvae.models.decoders import DECODERS, Decoder
from nfvae.models.likelihoods import LIKELIHOODS, DataSpec, Likelihood, Statistics
from nfvae.models.likelihoods.own import OwnLikelihood
from nfvae.models.modes import check_precision, evaluating
from nfvae.models.posterior import Options, Posterior, make_posterior
from nfvae.models.priors import PRIORS, Prior, tempered
from nfvae.numerics import as_tensor
from nfvae.registry import check_number, check_sizes

_DRAWN_AT_ONCE, _DECODED_AT_ONCE = 10_000, 250  # samples per pass of the prior, and of the decoder


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
        decoder: gives the numbers from which the likelihood makes p(x|z).
        prior: p(z).
        likelihood: makes p(x|z); None if the decoder gives it itself.

    References:
        Auto-Encoding Variational Bayes, arXiv 1312.6114.
    """

    def __init__(
        self, posterior: Posterior, decoder: Decoder, prior: Prior, likelihood: Likelihood | None = None
    ) -> None:
        super().__init__()
        self.posterior, self.decoder, self.prior = posterior, decoder, prior
        self.likelihood = OwnLikelihood() if likelihood is None else likelihood
        prior.attach(posterior)

    @property
    def spec(self) -> DataSpec | None:
        """The form of the data; None if any are accepted."""
        return self.likelihood.spec

    @override
    def forward(self, x: Tensor, samples: int = 1) -> LogTerms:
        """Draw samples from q(z|x) and evaluate every log-density at them.

        Args:
            x: binarized images with shape (B, P), in the model's floating type.
            samples: K, the number of posterior samples per image.

        Returns:
            The terms, each with shape (K, B), in nats.
        """
        check_precision(self)
        return self.log_terms(x, self.posterior(x).draw((samples,)))

    def as_data(self, x: Any) -> Tensor:
        """Convert data to a tensor with shape (B, P), of the model's floating type and on its device.

        Args:
            x: data with shape (B, ...) and any type; NumPy arrays and nested lists too.

        Raises:
            ValueError: for data of another size, or outside the likelihood's support.
        """
        spec, noun = self.spec, "images" if self.spec is None else self.spec.noun
        data = as_tensor(noun, x)
        if data.is_complex() or data.layout != torch.strided:
            raise ValueError(f"expected {noun} in a plain tensor of real numbers; got {data.dtype}, {data.layout}")
        size = data[:1].numel() if spec is None else spec.size
        if data.ndim < 2 or data[:1].numel() != size * len(data[:1]):
            side = "" if spec is None else f" or (B, {', '.join(map(str, spec.shape))})"
            raise ValueError(f"expected {noun} with shape (B, {size}){side}; got {tuple(data.shape)}")
        weights = next(self.parameters(), None)
        data = data.flatten(1) if weights is None else data.flatten(1).to(weights.device, weights.dtype)
        self.likelihood.check(data)
        return data

    def decode(self, z: Tensor) -> Distribution:
        """Return p(x|z) with batch shape (*) and event shape (P,) for z with shape (*, D)."""
        density: Distribution = self.likelihood(self.decoder(z))
        return density

    def log_terms(self, x: Tensor, draw: Draw, prior: Distribution | None = None) -> LogTerms:
        """Evaluate every log-density at posterior samples with shape (K, B, D) of images with shape (B, P).

        Args:
            x: the images.
            draw: the samples.
            prior: p(z), to avoid building it again.
        """
        density = self.decode(draw.z)
        if density.event_shape != x.shape[-1:]:
            shape = tuple(density.event_shape)
            raise ValueError(
                f"expected a decoder that gives p(x|z) with event shape {tuple(x.shape[-1:])}; got {shape}"
            )
        log_p = density.log_prob(x)
        prior = self.prior() if prior is None else prior
        return LogTerms(log_p, prior.log_prob(draw.z), draw.log_prob, draw.log_det)

    def sample(self, count: int, temperature: float = 1.0) -> Tensor:
        """Draw data from the model: means of p(x|z) with shape (count, P), such as pixel probabilities.

        Args:
            count: number of images.
            temperature: factor for the noise of the latents; below 1 images are more alike and cleaner.

        Raises:
            ValueError: for a count below 1, a temperature that is not above 0, or a prior without one.
        """
        check_number("count", count, least=1)
        check_number("temperature", temperature, above=0)
        with evaluating(self):
            prior = tempered(self.prior(), temperature)
            images: Tensor | None = None
            for start in range(0, count, _DRAWN_AT_ONCE):
                latents = prior.sample((min(_DRAWN_AT_ONCE, count - start),))
                for offset in range(0, len(latents), _DECODED_AT_ONCE):
                    decoded = self.decode(latents[offset : offset + _DECODED_AT_ONCE]).mean
                    if images is None:
                        images = decoded.new_empty(count, *decoded.shape[1:])
                    images[start + offset : start + offset + len(decoded)] = decoded
        assert images is not None
        return images

    def init_from(self, statistics: Statistics) -> None:
        """Initialize the decoder's output and a data-dependent prior from statistics of the training data."""
        if (bias := self.likelihood.start(statistics)) is not None:
            self.decoder.init_output_bias(bias)
        self.prior.init_from(statistics)

    def encode(self, x: Tensor, samples: int = 1) -> Draw:
        """Draw posterior samples with shape (samples, B, D) for data that `as_data` accepts."""
        check_sizes(samples=samples)
        with evaluating(self):
            draw: Draw = self.posterior(self.as_data(x)).draw((samples,))
        return draw

    def reconstruct(self, x: Tensor) -> Tensor:
        """Decode one posterior sample per datum that `as_data` accepts; return means of p(x|z) with shape (B, P)."""
        with evaluating(self):
            means: Tensor = self.decode(self.posterior(self.as_data(x)).rsample()).mean
        return means


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
    likelihood: str = "bernoulli",
    likelihood_options: Options = None,
    shape: Sequence[int] = (28, 28),
    levels: int | None = 2,
) -> VAE:
    """Build a VAE from names and numbers. Every name may be your own "package.module:Class".

    Args:
        flow: a name in `nfvae.flows.FLOWS`.
        depth: number of layers of the flow.
        flow_options: further arguments of the flow's class.
        context: C, the size of the encoder's context h for the flow; 0 makes the flow global.
        encoder: a name in `nfvae.models.ENCODERS`.
        encoder_options: further arguments of the encoder's class.
        latent: D, the number of latent coordinates.
        prior: a name in `nfvae.models.PRIORS`.
        prior_options: further arguments of the prior's class.
        decoder: a name in `nfvae.models.DECODERS`.
        decoder_options: further arguments of the decoder's class.
        likelihood: a name in `nfvae.models.LIKELIHOODS`; `own` if the decoder gives p(x|z) itself.
        likelihood_options: further arguments of the likelihood's class.
        shape: shape of a datum.
        levels: number of values per element of the data; None for real numbers.

    Raises:
        ValueError: for an unknown name or option, or a value out of range.
    """
    posterior = make_posterior(flow, depth, flow_options, context, encoder, encoder_options, latent, shape)
    made = LIKELIHOODS.make(likelihood, likelihood_options, spec=DataSpec(tuple(shape), levels))
    made_decoder = DECODERS.make(decoder, decoder_options, latent=latent, shape=shape, outputs=made.outputs)
    return VAE(posterior, made_decoder, PRIORS.make(prior, prior_options, latent=latent, shape=shape), made)


ARCHITECTURE = tuple(inspect.signature(make_vae).parameters)
"""The settings that define a VAE's architecture."""
