"""Approximation and amortization gap as an evaluation: see `nfvae.inference_gaps`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor
from typing_extensions import override

from nfvae.estimators import GapEstimate, inference_gaps
from nfvae.estimators.gaps import FREE
from nfvae.models import DataSpec
from nfvae.plots import gap_bars, gap_figure
from nfvae.registry import check_choice
from nfvae.runs.estimators.annealed import Chains
from nfvae.runs.estimators.base import Argument, Images, Summary, Values
from nfvae.runs.summaries import error_of_mean, number
from nfvae.runs.tables import Column

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARGIN = 0.1  # nats by which an ELBO may seem to be above log p(x)


_RESULTS = (
    Column(
        "approximation",
        "approximation, nats",
        2,
        "approximation_se",
        meaning="log p(x) minus the best ELBO that the flow can reach for each image",
        main=True,
    ),
    Column(
        "amortization",
        "amortization, nats",
        2,
        "amortization_se",
        meaning="best ELBO of the flow minus the ELBO of the encoder's posterior",
        main=True,
    ),
    Column(
        "random_start_best",
        "best from random",
        0,
        percent=True,
        meaning="share of images whose best ELBO came from a random start",
    ),
    Column("rounds", "rounds", 1, meaning="rounds of optimization per image until its ELBO settled"),
)


@dataclass
class Gap(Chains):
    """The split of the gap between ELBO and log p(x) into approximation and amortization gap.

    Args:
        chains: chains per image of the annealed importance sampling that estimates log p(x).
        temperatures: temperatures per chain.
        free: parameters that are optimized for each image, a name in `nfvae.estimators.gaps.FREE`.

    Raises:
        ValueError: for a number out of range, or an unknown `free`.
    """

    free: str = "layers"

    name = "gap"
    commands = "gap", "plot"
    help = "approximation and amortization gap"
    arguments: ClassVar[Mapping[str, Argument]] = {
        **Chains.arguments,
        "free": Argument(
            "parameters that are optimized for each image: layers (every parameter that the encoder sets in the flow) "
            "or context (the encoder's outputs alone)",
            str,
            free,
            tuple(FREE),
        ),
    }
    result = GapEstimate
    finite = "log_likelihood", "elbo_best"
    images_per_part = 50
    usual_limit: ClassVar[int | None] = 100
    of_settings: ClassVar[Sequence[Column]] = (
        Column("free", "free", meaning="parameters that are optimized for each image", names=True, of="estimator"),
    )
    of_results = _RESULTS

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("free tensor", self.free, FREE)

    @override
    def described(self) -> str:
        return super().described() + ("" if self.free == "layers" else f", free: {self.free}")

    @override
    def estimate(self, model: Any, images: Images, indices: Tensor, seed: int) -> GapEstimate:
        chains = self.chains, self.temperatures
        return inference_gaps(model, images.x, *chains, free=self.free, seed=seed, indices=indices)

    @override
    def values(self) -> Values:
        return {name.replace("standard_error", "se"): (name, None) for name in GapEstimate._fields}

    @override
    def summary(self, estimate: GapEstimate, spec: DataSpec) -> Summary:
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
    def figure(
        self, model: Any, estimate: GapEstimate, images: Tensor, spec: DataSpec, title: str, seed: int
    ) -> "Figure":
        return gap_figure(estimate, images, spec.shape, title)

    @override
    @classmethod
    def verdict(cls, summaries: Sequence[Summary]) -> str:
        if min(summary["approximation"] for summary in summaries) < -_MARGIN:
            return "The estimate of log p(x) is below an ELBO: the chains are too short. Use --budget large."
        shares = [summary["amortization"] / summary["gap"] if summary["gap"] else 0.0 for summary in summaries]
        least, most = min(shares), max(shares)
        part = f"{least:.0%}" if f"{least:.0%}" == f"{most:.0%}" else f"{least:.0%} to {most:.0%}"
        verdicts = {_what_pays(summary) for summary in summaries}
        pays = verdicts.pop() if len(verdicts) == 1 else "the larger part differs between the runs"
        return (
            f"The encoder causes {part} of the gap between ELBO and log p(x) (amortization), the posterior's family "
            f"the rest (approximation): {pays}."
        )

    @override
    @classmethod
    def overview(cls, summaries: Mapping[str, Summary], title: str) -> "Figure":
        free = {summary.get("free", cls.free) for summary in summaries.values()} - {cls.free}
        return gap_bars(summaries, ", free: ".join([title, *sorted(free)]))


def _what_pays(summary: Summary) -> str:
    """Describe which part of the gap is larger, if by more than twice the standard error of the difference."""
    lead = summary["amortization"] - summary["approximation"]
    errors = [summary["amortization_se"], summary["approximation_se"]]
    if None in errors or abs(lead) <= 2 * math.hypot(*errors):
        return "these images are too few to tell which part is larger"
    return f"a better {'encoder' if lead > 0 else 'family of flows'} would gain more"
