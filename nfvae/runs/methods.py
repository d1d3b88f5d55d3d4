"""The estimators of a likelihood as an evaluation uses them: what is estimated, summed up, drawn, and said of it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.estimators import (
    PROPOSALS,
    AnnealedEstimate,
    Estimate,
    GapEstimate,
    SandwichEstimate,
    Simulated,
    annealed_log_likelihood,
    inference_gaps,
    k_values,
    log_likelihood,
    log_weights,
    sandwich,
    simulate,
)
from nfvae.estimators.annealed import check_chains
from nfvae.estimators.annealing import MARKS
from nfvae.estimators.pareto import KHAT_LIMIT
from nfvae.estimators.streaming import check_samples
from nfvae.models import VAE
from nfvae.plots import annealed_figure, gap_figure, likelihood_figure, sandwich_figure
from nfvae.registry import check_choice, check_number
from nfvae.runs.folder import EvaluationSettings
from nfvae.runs.summaries import above, error_of_mean, is_active, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HISTOGRAM_IMAGES = 32  # images whose log-weights the figure shows
_NOISE = 0.1  # nats by which a bound may seem above what it bounds
_TIGHT, _LOOSE = 0.05, 0.5  # nats by which a likelihood is likely off: to be believed, not to be believed
Summary = dict[str, Any]
Columns = dict[str, tuple[str, int | None]]
_LIKELIHOOD: Columns = {
    "log_likelihood": ("log_likelihood", None),
    "elbo": ("elbo", None),
    "se": ("standard_error", None),
    "ess": ("ess", None),
}


class Method(ABC):
    """An estimator, with what it is asked.

    Args:
        settings: of the evaluation.

    Attributes:
        images_per_part: whose estimates are written to disk together.
        asked: arguments of the estimator's function.
        result: the class of an estimate, a NamedTuple of tensors with a value or a row for each image, in nats.

    Raises:
        ValueError: for settings out of range.
    """

    images_per_part: ClassVar[int] = 100
    result: ClassVar[type[Any]]

    def __init__(self, settings: EvaluationSettings) -> None:
        self.settings = settings
        self.asked: dict[str, Any] = {name: getattr(settings, name) for name in (*settings.sizes(), "seed")}
        check_choice("proposal", settings.proposal, PROPOSALS)
        check_samples(settings.samples)
        check_chains(settings.chains, settings.temperatures)
        check_number("limit", 1 if settings.limit is None else settings.limit, least=1)

    def images(self, build: Callable[[], VAE], read: Callable[[], Tensor]) -> Tensor:
        """Return the binary images with shape (N, P).

        Args:
            build: builds the VAE.
            read: reads those of the split.
        """
        return read()[: self.settings.limit]

    @abstractmethod
    def estimate(self, model: VAE, x: Tensor, indices: Tensor) -> Any:
        """Return the estimate of images with shape (B, P), given where each stands among all."""

    @abstractmethod
    def columns(self) -> Columns:
        """Return the columns of the file of values: the field of each, and the place in it where it has several."""

    @abstractmethod
    def summary(self, estimate: Any, pixels: int) -> Summary:
        """Sum up the estimates of N images of P pixels, in nats per image; None is what cannot be said."""

    @abstractmethod
    def figure(self, model: VAE, estimate: Any, images: Tensor, shape: tuple[int, int], title: str) -> "Figure":
        """Draw the estimates, as far as `columns` holds them."""

    @staticmethod
    @abstractmethod
    def words(summaries: Sequence[Summary]) -> str:
        """Say how far to believe the numbers of several runs."""


class Importance(Method):
    """Importance sampling: see `nfvae.log_likelihood`."""

    result = Estimate

    @override
    def estimate(self, model: VAE, x: Tensor, indices: Tensor) -> Estimate:
        return log_likelihood(model, x, indices=indices, **self.asked)

    @override
    def columns(self) -> Columns:
        bounds: Columns = {f"bound_{k}": ("k_curve", place) for place, k in enumerate(k_values(self.settings.samples))}
        return _LIKELIHOOD | {"khat": ("khat", None)} | bounds

    @override
    def summary(self, estimate: Estimate, pixels: int) -> Summary:
        drawn = math.ceil(self.settings.samples / len(PROPOSALS[self.settings.proposal]))
        bounds = map(number, estimate.k_curve.mean(0))
        return _summary(estimate, pixels, drawn) | {
            "khat_above_0_7": number(above(estimate.khat, KHAT_LIMIT).mean()),
            "k_curve": dict(zip(map(str, k_values(self.settings.samples)), bounds, strict=True)),
        }

    @override
    def figure(self, model: VAE, estimate: Estimate, images: Tensor, shape: tuple[int, int], title: str) -> "Figure":
        some = torch.linspace(0, len(images) - 1, min(_HISTOGRAM_IMAGES, len(images))).long()
        weights = log_weights(model, images[some].float(), indices=some, **self.asked)
        return likelihood_figure(estimate, weights, images, shape, title)

    @override
    @staticmethod
    def words(summaries: Sequence[Summary]) -> str:
        shares = [summary["khat_above_0_7"] for summary in summaries]
        if None in shares:
            return "k̂ needs 25 samples per image, so how far to believe these likelihoods is not known."
        if max(shares) == 0:
            return f"No image has k̂ above {KHAT_LIMIT}: estimates and standard errors can be believed."
        return (
            f"Where k̂ > {KHAT_LIMIT}, a few samples decide the estimate of an image: its NLL is likely too high, "
            "its sampling error too small. --estimator annealed gives a lower NLL at the same cost."
        )


class Annealed(Method):
    """Annealed importance sampling: see `nfvae.annealed_log_likelihood`."""

    images_per_part = 400
    result: ClassVar[type[Any]] = AnnealedEstimate
    curves: ClassVar[tuple[str, ...]] = ("betas", "spreads", "acceptances")

    @override
    def estimate(self, model: VAE, x: Tensor, indices: Tensor) -> Any:
        return annealed_log_likelihood(model, x, indices=indices, **self.asked)

    @override
    def columns(self) -> Columns:
        single: Columns = {name: (name, None) for name in ("mean_log_weight", "spread", "acceptance")}
        curves: Columns = {f"{name[:-1]}_{place + 1}": (name, place) for name in self.curves for place in range(MARKS)}
        return _LIKELIHOOD | single | curves

    @override
    def summary(self, estimate: Any, pixels: int) -> Summary:
        chains = self.settings.chains
        return _summary(estimate, pixels, chains) | {
            "nll_one_chain": number(-estimate.mean_log_weight.mean()),
            "likely_off": number(estimate.spread.square().mean() / (2 * chains)),
            "spread_median": number(estimate.spread.nanquantile(0.5)),
            "spread_p95": number(estimate.spread.nanquantile(0.95)),
            "acceptance": number(estimate.acceptance.nanmean()),
        }

    @override
    def figure(self, model: VAE, estimate: Any, images: Tensor, shape: tuple[int, int], title: str) -> "Figure":
        return annealed_figure(estimate, images, shape, title)

    @override
    @staticmethod
    def words(summaries: Sequence[Summary]) -> str:
        off = [summary["likely_off"] for summary in summaries]
        if None in off:
            return "How far to believe these NLLs is not known: that needs two chains per image."
        much = f"the annealed NLLs are too high by some {max(off):.2f} nats or more"
        if max(off) <= _TIGHT:
            advice = "They can be believed to about that accuracy."
        elif max(off) <= _LOOSE:
            advice = "More temperatures (--budget large) lower them."
        else:
            advice = "Do not believe them: take many more temperatures."
        return f"Judging by the spread of the chains' log-weights, {much}. {advice}"


class Sandwich(Annealed):
    """Bounds from both sides, on images that the model itself made: see `nfvae.sandwich`."""

    result, curves = SandwichEstimate, ()
    simulated: Simulated

    @override
    def images(self, build: Callable[[], VAE], read: Callable[[], Tensor]) -> Tensor:
        assert self.settings.limit is not None
        self.simulated = simulate(build(), self.settings.limit, self.settings.seed)
        return self.simulated.x.to(torch.uint8)

    @override
    def estimate(self, model: VAE, x: Tensor, indices: Tensor) -> SandwichEstimate:
        z = self.simulated.z[indices.cpu()].to(x.device)
        return sandwich(model, Simulated(x, z), indices=indices, **self.asked)

    @override
    def columns(self) -> Columns:
        return super().columns() | {"upper": ("upper", None), "upper_se": ("upper_error", None)}

    @override
    def summary(self, estimate: SandwichEstimate, pixels: int) -> Summary:
        between = estimate.upper - estimate.log_likelihood
        return super().summary(estimate, pixels) | {
            "nll_least": number(-estimate.upper.mean()),
            "bracket": number(between.mean()),
            "bracket_se": number(error_of_mean(between)),
        }

    @override
    def figure(
        self, model: VAE, estimate: SandwichEstimate, images: Tensor, shape: tuple[int, int], title: str
    ) -> "Figure":
        return sandwich_figure(estimate, images, shape, title)

    @override
    @staticmethod
    def words(summaries: Sequence[Summary]) -> str:
        widest = max(summary["bracket"] + 2 * (summary["bracket_se"] or 0) for summary in summaries)
        verdict = "Believe annealed NLLs that far." if widest <= _LOOSE else "Take many more temperatures."
        return (
            "On images from the model itself, the true NLL lies between the two bounds, in expectation. "
            f"Their means are at most {widest:.2f} nats apart (two standard errors included). {verdict}"
        )


class Gap(Method):
    """Approximation and amortization gap: see `nfvae.inference_gaps`."""

    images_per_part, result = 50, GapEstimate

    @override
    def estimate(self, model: VAE, x: Tensor, indices: Tensor) -> GapEstimate:
        return inference_gaps(model, x, indices=indices, **self.asked)

    @override
    def columns(self) -> Columns:
        return {name.replace("standard_error", "se"): (name, None) for name in GapEstimate._fields}

    @override
    def summary(self, estimate: GapEstimate, pixels: int) -> Summary:
        values = {
            "elbo": estimate.elbo.mean(),
            "elbo_se": error_of_mean(estimate.elbo),
            "nll": -estimate.log_likelihood.mean(),
            "nll_se": error_of_mean(estimate.log_likelihood),
            "gap": (estimate.log_likelihood - estimate.elbo).mean(),
            "elbo_best": estimate.elbo_best.mean(),
            "approximation": estimate.approximation.mean(),
            "approximation_se": error_of_mean(estimate.approximation),
            "amortization": estimate.amortization.mean(),
            "amortization_se": error_of_mean(estimate.amortization),
            "random_start_best": (estimate.best_start > 0).double().mean(),
            "rounds": estimate.rounds.mean(),
        }
        return {name: number(value) for name, value in values.items()}

    @override
    def figure(self, model: VAE, estimate: GapEstimate, images: Tensor, shape: tuple[int, int], title: str) -> "Figure":
        return gap_figure(estimate, images, shape, title)

    @override
    @staticmethod
    def words(summaries: Sequence[Summary]) -> str:
        if min(s["approximation"] for s in summaries) < -_NOISE:
            return "log p(x) lies below an ELBO, so these chains are too short to say anything. Take more temperatures."
        shares = [s["amortization"] / s["gap"] if s["gap"] else 0.0 for s in summaries]
        least, most = min(shares), max(shares)
        part = f"{least:.0%}" if f"{least:.0%}" == f"{most:.0%}" else f"{least:.0%} to {most:.0%}"
        verdicts = {_what_pays(summary) for summary in summaries}
        pays = verdicts.pop() if len(verdicts) == 1 else "what would pay more differs between these"
        return (
            f"Of the distance between ELBO and log p(x), {part} is amortization, what the encoder does not find, "
            f"and the rest approximation, what the posterior's family cannot do: {pays}."
        )


def _what_pays(summary: Summary) -> str:
    """Say which part of a gap is the larger one, if by more than twice the error of the difference."""
    lead = summary["amortization"] - summary["approximation"]
    errors = [summary["amortization_se"], summary["approximation_se"]]
    if None in errors or abs(lead) <= 2 * math.hypot(*errors):
        return "more images would say which is the larger part"
    return f"a better {'encoder' if lead > 0 else 'flow'} would pay more"


METHODS: dict[str, type[Method]] = {"importance": Importance, "annealed": Annealed, "sandwich": Sandwich, "gap": Gap}


def make_method(settings: EvaluationSettings) -> Method:
    """Return the estimator that an evaluation asks for.

    Raises:
        ValueError: for an unknown one, or settings out of range.
    """
    check_choice("estimator", settings.estimator, METHODS)
    return METHODS[settings.estimator](settings)


def described(summary: Summary) -> str:
    """Say with what an evaluation estimated, as `5,000 importance samples (mixture) an image`."""
    precision = summary.get("matmul_precision", "highest")
    coarse = "" if precision == "highest" else f", {precision} precision of products"
    if summary["estimator"] == "importance":
        return f"{summary['samples']:,} importance samples ({summary['proposal']} proposal) an image{coarse}"
    chains = f"{summary['chains']} chains of {summary['temperatures']:,} temperatures an image"
    return f"{summary['estimator']}, {chains}{coarse}"


def _summary(estimate: Any, pixels: int, drawn: int) -> Summary:
    """Sum up what every estimator of the likelihood gives.

    `elbo_se` and `nll_se` are standard errors over images, `nll_mc_se` that of the Monte-Carlo sampling alone.

    Args:
        estimate: of N images.
        pixels: P.
        drawn: samples of q of an image, from which the posterior mean was taken.
    """
    elbo, nll = estimate.elbo.mean(), -estimate.log_likelihood.mean()
    values = {
        "elbo": elbo,
        "elbo_se": error_of_mean(estimate.elbo),
        "nll": nll,
        "nll_se": error_of_mean(estimate.log_likelihood),
        "nll_mc_se": estimate.standard_error.square().mean().div(len(estimate.elbo)).sqrt(),
        "gap": -elbo - nll,
        "kl": estimate.kl.mean(),
        "bits_per_pixel": nll / (pixels * math.log(2)),
        "active_units": is_active(estimate.posterior_mean, estimate.posterior_variance, drawn).sum(),
        "ess_median": estimate.ess.quantile(0.5),
        "ess_p05": estimate.ess.quantile(0.05),
    }
    return {name: number(value) for name, value in values.items()}
