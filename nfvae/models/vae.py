"""The variational autoencoder: three densities, evaluated together."""

import inspect
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from typing_extensions import override

from nfvae.flows import Draw
from nfvae.flows.mixture import tempered
from nfvae.models.decoders import DECODERS, Decoder
from nfvae.models.likelihoods import LIKELIHOODS, DataSpec, Likelihood, Statistics
from nfvae.models.likelihoods.own import OwnLikelihood
from nfvae.models.modes import check_precision, evaluating
from nfvae.models.posterior import Options, Posterior, make_posterior, make_spec
from nfvae.models.priors import PRIORS, Prior
from nfvae.models.rows import as_condition, as_rows, split_rows
from nfvae.registry import check_choice, check_number, check_sizes

VALUES = ("mean", "sample", "mode")
"""Kinds of values that stand for a density p(x|z)."""
DEFAULT_CONDITIONED = ("encoder", "flow", "decoder")
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

    If the data have conditions y, such as labels, the parts named in `conditioned` depend on them: q(z|x, y), p(z|y),
    p(x|z, y). All log-densities are then given y. A row of data is x followed by y: see `DataSpec`.

    Args:
        posterior: q(z|x).
        decoder: gives the numbers from which the likelihood makes p(x|z); if conditioned, from z and y.
        prior: p(z).
        likelihood: makes p(x|z); None if the decoder gives it itself.
        conditioned: which of `prior` and `decoder` depend on conditions; the posterior knows about itself.

    References:
        Auto-Encoding Variational Bayes, arXiv 1312.6114.
        Learning Structured Output Representation using Deep Conditional Generative Models, NeurIPS 2015.
    """

    def __init__(
        self,
        posterior: Posterior,
        decoder: Decoder,
        prior: Prior,
        likelihood: Likelihood | None = None,
        conditioned: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.posterior, self.decoder, self.prior = posterior, decoder, prior
        self.likelihood = OwnLikelihood() if likelihood is None else likelihood
        self.conditioned = frozenset(conditioned)
        prior.attach(posterior)

    @property
    def spec(self) -> DataSpec | None:
        """The form of the data; None if any are accepted."""
        return self.likelihood.spec

    @override
    def forward(self, x: Tensor, samples: int = 1) -> LogTerms:
        """Draw samples from q(z|x) and evaluate every log-density at them.

        Args:
            x: rows of data with shape (B, P + C), in the model's floating type.
            samples: K, the number of posterior samples per datum.

        Returns:
            The terms, each with shape (K, B), in nats.
        """
        check_precision(self)
        return self.log_terms(x, self.posterior(x).draw((samples,)))

    def as_data(self, x: Any, condition: Any = None) -> Tensor:
        """Convert data to rows with shape (B, P + C), of the model's floating type and on its device.

        Args:
            x: data with shape (B, ...) and any type; NumPy arrays and nested lists too.
            condition: conditions with shape (B, C), or (C,) for all; None if there are none, or x has them already.

        Raises:
            ValueError: for data of another size, or outside the likelihood's support.
        """
        return as_rows(x, condition, self.likelihood, next(self.parameters(), None))

    def split(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Split rows of data into x with shape (B, P) and conditions with shape (B, C), None if there are none."""
        return split_rows(x, self.spec)

    def prior_of(self, x: Tensor) -> Distribution:
        """Return p(z), or p(z|y) for the conditions of rows of data."""
        return self.prior_given(self.split(x)[1])

    def prior_given(self, condition: Tensor | None) -> Distribution:
        """Return p(z), or p(z|y) for conditions with shape (B, C)."""
        density: Distribution = self.prior(*([condition] if "prior" in self.conditioned else []))
        return density

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Distribution:
        """Return p(x|z) with batch shape (*) and event shape (P,).

        Args:
            z: latents with shape (*, D).
            condition: conditions that broadcast to shape (*, C); needed if the decoder is conditioned.
        """
        density: Distribution = self.likelihood(self.decoder(self.decoder_input(z, condition)))
        return density

    def decoder_input(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Return the input of the decoder, (z, y) if it is conditioned.

        Raises:
            ValueError: for a conditioned decoder without conditions.
        """
        if "decoder" not in self.conditioned:
            return z
        if condition is None:
            raise ValueError("this model's decoder is conditioned: give the condition, such as a label, too")
        return torch.cat([z, condition.to(z).expand(*z.shape[:-1], condition.shape[-1])], -1)

    def log_terms(self, x: Tensor, draw: Draw, prior: Distribution | None = None) -> LogTerms:
        """Evaluate every log-density at posterior samples with shape (K, B, D) of rows with shape (B, P + C).

        Args:
            x: the data.
            draw: the samples.
            prior: p(z), to avoid building it again.
        """
        values, condition = self.split(x)
        density = self.decode(draw.z, condition)
        if density.event_shape != values.shape[-1:]:
            shape = tuple(density.event_shape)
            raise ValueError(
                f"expected a decoder that gives p(x|z) with event shape {tuple(values.shape[-1:])}; got {shape}"
            )
        log_p = self.likelihood.log_prob(density, values)
        prior = self.prior_given(condition) if prior is None else prior
        return LogTerms(log_p, prior.log_prob(draw.z), draw.log_prob, draw.log_det)

    def sample(self, count: int, temperature: float = 1.0, values: str = "mean", condition: Any = None) -> Tensor:
        """Draw data from the model, with shape (count, P).

        Args:
            count: number of data.
            temperature: factor for the noise of the latents; below 1 images are more alike and cleaner.
            values: `mean` of p(x|z), such as pixel probabilities, a `sample` of it, or its `mode`.
            condition: conditions with shape (C,) or (count, C), for a model that has them.

        Raises:
            ValueError: for a count below 1, a temperature that is not above 0, a prior without one, an unknown kind of
                values, a likelihood without a mode, or conditions that are missing or of another shape.
        """
        check_number("count", count, least=1)
        check_number("temperature", temperature, above=0)
        check_choice("values", values, VALUES)
        given = None if condition is None else as_condition(condition, count, self.spec)
        if given is None and self.spec is not None and self.spec.conditions:
            raise ValueError("this model is conditioned: give the condition, such as a label, too")
        with evaluating(self):
            parts = []
            for start in range(0, count, _DRAWN_AT_ONCE):
                own = None if given is None else given[start : start + _DRAWN_AT_ONCE]
                prior = tempered(self.prior_given(own), temperature)
                shape = () if prior.batch_shape else (min(_DRAWN_AT_ONCE, count - start),)
                parts.append(_decoded(self, prior.sample(torch.Size(shape)), own, values))
        return torch.cat(parts)

    def init_from(self, statistics: Statistics) -> None:
        """Initialize scales, the decoder's output and a data-dependent prior from statistics of the training data."""
        if (inputs := getattr(self.posterior, "inputs", None)) is not None:
            inputs.init_from(statistics)
        if (bias := self.likelihood.start(statistics)) is not None:
            self.decoder.init_output_bias(bias)
        self.prior.init_from(statistics)

    def encode(self, x: Tensor, samples: int = 1) -> Draw:
        """Draw posterior samples with shape (samples, B, D) for rows that `as_data` accepts."""
        check_sizes(samples=samples)
        with evaluating(self):
            draw: Draw = self.posterior(self.as_data(x)).draw((samples,))
        return draw

    def reconstruct(self, x: Tensor) -> Tensor:
        """Decode one posterior sample per row that `as_data` accepts; return means of p(x|z) with shape (B, P)."""
        with evaluating(self):
            data = self.as_data(x)
            means: Tensor = self.decode(self.posterior(data).rsample(), self.split(data)[1]).mean
        return means


def _decoded(model: VAE, latents: Tensor, condition: Tensor | None, values: str) -> Tensor:
    """Decode latents with shape (N, D) into means, samples or modes with shape (N, P)."""
    decoded: Tensor | None = None
    for start in range(0, len(latents), _DECODED_AT_ONCE):
        some = slice(start, start + _DECODED_AT_ONCE)
        part = density_values(model.decode(latents[some], None if condition is None else condition[some]), values)
        if decoded is None:
            decoded = part.new_empty(len(latents), *part.shape[1:])
        decoded[some] = part
    assert decoded is not None
    return decoded


def density_values(density: Distribution, values: str) -> Tensor:
    """Return the mean, a sample or the mode of a density.

    Raises:
        ValueError: for a density without a mode.
    """
    if values == "sample":
        return density.sample()
    try:
        found: Tensor = getattr(density, values)
    except NotImplementedError as error:
        raise ValueError(f"this likelihood has no {values}: take one of {', '.join(VALUES)}") from error
    return found


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
    conditioned: Collection[str] = DEFAULT_CONDITIONED,
    shape: Sequence[int] = (28, 28),
    levels: int | None = 2,
    conditions: int = 0,
    missing: bool = False,
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
        conditioned: parts that see the condition of the data, names in `nfvae.models.posterior.CONDITIONED`.
        shape: shape of a datum.
        levels: number of values per element of the data; None for real numbers.
        conditions: number of conditions of a datum.
        missing: whether values can be missing.

    Raises:
        ValueError: for an unknown name or option, or a value out of range.
    """
    spec = make_spec(shape, levels, conditions, missing, conditioned)
    chosen = frozenset(conditioned if conditions else ())
    of_posterior = (flow, depth, flow_options, context, encoder, encoder_options, latent, *spec, chosen)
    posterior = make_posterior(*of_posterior)
    made = LIKELIHOODS.make(likelihood, likelihood_options, spec=spec)
    size = latent + ("decoder" in chosen) * conditions
    made_decoder = DECODERS.make(decoder, decoder_options, latent=size, shape=shape, outputs=made.outputs)
    return VAE(posterior, made_decoder, _make_prior(prior, prior_options, latent, spec, chosen), made, chosen)


def _make_prior(name: str, options: Options, latent: int, spec: DataSpec, conditioned: Collection[str]) -> Prior:
    """Build a prior.

    Raises:
        ValueError: for a prior that cannot be conditioned as requested.
    """
    kind = PRIORS.load(name)
    given: dict[str, Any] = {"latent": latent, "spec": spec} | ({"conditions": 0} if kind.takes_condition else {})
    if "prior" not in conditioned:
        if kind.is_of_posterior and {"encoder", "flow"} & set(conditioned):
            raise ValueError(
                f"the prior {name} is made of posteriors without conditions: take [decoder] for conditioned"
            )
        return PRIORS.make(name, options, **given)
    if not kind.takes_condition:
        able = ", ".join(each for each in PRIORS if PRIORS.load(each).takes_condition)
        raise ValueError(f"the prior {name} takes no conditions; {able} do, or leave prior out of conditioned")
    return PRIORS.make(name, options, **given | {"conditions": spec.conditions})


ARCHITECTURE = tuple(inspect.signature(make_vae).parameters)
"""The settings that define a VAE's architecture."""
