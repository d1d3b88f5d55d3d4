"""Annealed importance sampling as an evaluation: see `nfvae.annealed_log_likelihood`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from torch import Tensor
from typing_extensions import override

from nfvae.estimators import BUDGETS, AnnealedEstimate, annealed_log_likelihood
from nfvae.estimators.annealed import check_chains
from nfvae.estimators.annealing import MARKS
from nfvae.models import DataSpec
from nfvae.plots import annealed_figure
from nfvae.registry import check_choice
from nfvae.runs.estimators.base import Argument, Estimator, Images, Summary, Values
from nfvae.runs.summaries import LIKELIHOOD_VALUES, likelihood_summary, number
from nfvae.runs.tables import Column

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TIGHT, _LOOSE = 0.05, 0.5  # estimated bias in nats: accurate up to the first, not to be trusted above the second


def _sizes(index: int) -> str:
    sizes = {budget: f"{size[index]:,}" for budget, size in BUDGETS.items()}
    several = len({*sizes.values()}) > 1
    return ", ".join(f"{size} for {budget}" for budget, size in sizes.items()) if several else sizes["default"]


@dataclass
class Chains(Estimator):
    """An estimator that uses annealed chains.

    Args:
        chains: C, chains per image.
        temperatures: T, temperatures per chain.

    Raises:
        ValueError: for a number out of range.
    """

    chains: int = BUDGETS["default"][0]
    temperatures: int = BUDGETS["default"][1]

    arguments: ClassVar[Mapping[str, Argument]] = {
        "budget": Argument(
            f"chains and temperatures of annealing: {', '.join(BUDGETS)}", str, "default", tuple(BUDGETS)
        ),
        "chains": Argument(f"annealed chains per image (default: {_sizes(0)})", int),
        "temperatures": Argument(f"temperatures per annealed chain (default: {_sizes(1)})", int),
    }
    of_settings: ClassVar[Sequence[Column]] = (
        Column("chains", "chains", 0, meaning="annealed chains per image", names=True, of="estimator"),
        Column(
            "temperatures",
            "temperatures",
            0,
            meaning="temperatures per chain, from q(z|x) to the exact posterior",
            names=True,
            of="estimator",
        ),
    )

    def __post_init__(self) -> None:
        check_chains(self.chains, self.temperatures)

    @override
    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        budget = given.get("budget") or "default"
        check_choice("budget", budget, BUDGETS)
        usual = dict(zip(("chains", "temperatures"), BUDGETS[budget], strict=True))
        return super().of(usual | {name: value for name, value in given.items() if value is not None})

    @override
    def size(self) -> str:
        return f"{self.chains}x{self.temperatures}"

    @override
    def described(self) -> str:
        return f"{self.name}, {self.chains} chains of {self.temperatures:,} temperatures an image"


@dataclass
class Annealed(Chains):
    """Annealed importance sampling from the posterior; its settings are those of `Chains`."""

    name = "annealed"
    commands: ClassVar[Sequence[str]] = ("evaluate", "compare", "score", "plot")
    help = "annealed importance sampling: closer to the truth in less time; size by --budget"
    result: ClassVar[type[Any]] = AnnealedEstimate
    images_per_part = 400
    of_results: ClassVar[Sequence[Column]] = (
        Column(
            "likely_off",
            "est. bias",
            3,
            meaning="nats by which the NLL is too high: σ²/2C of the log-weights of C chains",
            pooled=True,
            main=True,
        ),
        Column("nll_one_chain", "NLL, one chain", 2, meaning="NLL from a single chain"),
        Column(
            "spread_median",
            "std. dev., median",
            2,
            meaning="standard deviation of the log-weights of an image's chains, median over images",
            pooled=True,
        ),
        Column("spread_p95", "std. dev., 95%", 2, meaning="the same, 95th percentile over images"),
        Column("acceptance", "acceptance", 0, percent=True, meaning="share of accepted moves"),
    )
    curves: ClassVar[Sequence[str]] = ("betas", "spreads", "acceptances")

    @override
    def estimate(self, model: Any, images: Images, indices: Tensor, seed: int) -> Any:
        return annealed_log_likelihood(model, images.x, self.chains, self.temperatures, seed=seed, indices=indices)

    @override
    def values(self) -> Values:
        single: Values = {name: (name, None) for name in ("mean_log_weight", "spread", "acceptance")}
        curves: Values = {f"{name[:-1]}_{index + 1}": (name, index) for name in self.curves for index in range(MARKS)}
        return LIKELIHOOD_VALUES | single | curves

    @override
    def summary(self, estimate: Any, spec: DataSpec) -> Summary:
        return likelihood_summary(estimate, spec, self.chains) | {
            "nll_one_chain": number(-estimate.mean_log_weight.mean()),
            "likely_off": number(estimate.spread.square().mean() / (2 * self.chains)),
            "spread_median": number(estimate.spread.nanquantile(0.5)),
            "spread_p95": number(estimate.spread.nanquantile(0.95)),
            "acceptance": number(estimate.acceptance.nanmean()),
        }

    @override
    def figure(self, model: Any, estimate: Any, images: Tensor, spec: DataSpec, title: str, seed: int) -> "Figure":
        return annealed_figure(estimate, images, spec.shape, title)

    @override
    @classmethod
    def verdict(cls, summaries: Sequence[Summary]) -> str:
        off = [summary["likely_off"] for summary in summaries]
        if None in off:
            return "The bias of these NLLs is unknown: estimating it needs at least two chains per image."
        if max(off) <= _TIGHT:
            advice = "That is accurate enough for most comparisons."
        elif max(off) <= _LOOSE:
            advice = "Use --budget large for a more accurate NLL."
        else:
            advice = "Do not trust them: use many more temperatures."
        worst = " in the worst row" if len(off) > 1 else ""
        return f"The annealed NLL is about {max(off):.3f} nats too high{worst} (est. bias). {advice}"
