"""Bounds from both sides as an evaluation: see `nfvae.sandwich`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.estimators import SandwichEstimate, Simulated, sandwich, simulate
from nfvae.models import DataSpec
from nfvae.plots import sandwich_figure
from nfvae.runs.estimators.annealed import Annealed
from nfvae.runs.estimators.base import Images, Summary, Values
from nfvae.runs.summaries import error_of_mean, number
from nfvae.runs.tables import Column

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LOOSE = 0.5  # nats between the bounds, above which they are not useful


@dataclass
class Sandwich(Annealed):
    """Lower and upper bounds on log p(x) of images simulated from the model; its settings are those of `Chains`."""

    name = "sandwich"
    commands = ("evaluate",)
    help = "lower and upper bound, on images drawn from the model; size by --budget"
    result, curves = SandwichEstimate, ()
    finite = "log_likelihood", "upper"
    usual_limit: ClassVar[int | None] = 100
    usual_split = "simulated"
    simulates = True
    of_results = (
        Column(
            "nll_least",
            "NLL, lower bound, nats",
            2,
            meaning="lower bound of the NLL, too low on average",
            main=True,
        ),
        Column(
            "bracket", "bracket, nats", 3, "bracket_se", meaning="distance between the two bounds of the NLL", main=True
        ),
    )

    @override
    def images(self, build: Callable[[], Any], read: Callable[[], Tensor], limit: int | None, seed: int) -> Images:
        assert limit is not None
        model = build()
        given = model.split(read()[:limit])[1] if model.spec is not None and model.spec.conditions else None
        simulated = simulate(model, limit if given is None else len(given), seed, given)
        is_binary = model.spec is not None and model.spec.levels == 2 and given is None
        return Images(simulated.x.to(torch.uint8) if is_binary else simulated.x, simulated.z)

    @override
    def estimate(self, model: Any, images: Images, indices: Tensor, seed: int) -> SandwichEstimate:
        assert images.z is not None
        simulated = Simulated(images.x, images.z)
        return sandwich(model, simulated, self.chains, self.temperatures, seed=seed, indices=indices)

    @override
    def values(self) -> Values:
        return super().values() | {"upper": ("upper", None), "upper_se": ("upper_error", None)}

    @override
    def summary(self, estimate: SandwichEstimate, spec: DataSpec) -> Summary:
        between = estimate.upper - estimate.log_likelihood
        return super().summary(estimate, spec) | {
            "nll_least": number(-estimate.upper.mean()),
            "bracket": number(between.mean()),
            "bracket_se": number(error_of_mean(between)),
        }

    @override
    def figure(
        self, model: Any, estimate: SandwichEstimate, images: Tensor, spec: DataSpec, title: str, seed: int
    ) -> "Figure":
        return sandwich_figure(estimate, images, spec.shape, title)

    @override
    @classmethod
    def verdict(cls, summaries: Sequence[Summary]) -> str:
        widest = max(summary["bracket"] + 2 * (summary["bracket_se"] or 0) for summary in summaries)
        advice = "" if widest <= _LOOSE else " Do not trust them: use many more temperatures."
        return (
            f"Annealed NLLs of this model are accurate to {widest:.2f} nats: on images drawn from it, the true NLL "
            f"lies between two bounds that are no further apart (two standard errors included).{advice}"
        )
