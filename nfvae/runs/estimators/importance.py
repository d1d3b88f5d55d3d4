"""Importance sampling as an evaluation: see `nfvae.log_likelihood`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.estimators import PROPOSALS, Estimate, k_values, log_likelihood, log_weights
from nfvae.estimators.pareto import KHAT_LIMIT
from nfvae.estimators.streaming import check_samples
from nfvae.models import DataSpec
from nfvae.plots import k_curves, likelihood_figure
from nfvae.registry import check_choice
from nfvae.runs.estimators.base import Argument, Estimator, Images, Summary, Values
from nfvae.runs.summaries import LIKELIHOOD_VALUES, above, likelihood_summary, number
from nfvae.runs.tables import Column

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HISTOGRAM_IMAGES = 32  # images whose log-weights the figure shows


@dataclass
class Importance(Estimator):
    """Importance sampling from the posterior.

    Args:
        samples: K, samples per image.
        proposal: proposal distribution, a name in `nfvae.estimators.PROPOSALS`.

    Raises:
        ValueError: for samples out of range, or an unknown proposal.
    """

    samples: int = 5000
    proposal: str = "mixture"

    name = "importance"
    commands = "evaluate", "compare", "score", "plot"
    help = "importance sampling from the posterior; size by --samples"
    arguments: ClassVar[Mapping[str, Argument]] = {
        "samples": Argument("importance samples per image", int, samples),
        "proposal": Argument(
            f"distribution that importance samples are drawn from: {' or '.join(PROPOSALS)}",
            str,
            proposal,
            tuple(PROPOSALS),
        ),
    }
    result = Estimate
    of_settings = (
        Column("samples", "samples", 0, meaning="importance samples per image", names=True, of="estimator"),
        Column("proposal", "proposal", meaning="distribution that they are drawn from", names=True, of="estimator"),
    )
    of_results = (
        Column(
            "khat_above_0_7",
            f"k̂ > {KHAT_LIMIT}",
            1,
            percent=True,
            meaning="share of images whose estimate rests on a few samples and cannot be trusted",
            pooled=True,
            main=True,
        ),
    )

    def __post_init__(self) -> None:
        check_choice("proposal", self.proposal, PROPOSALS)
        check_samples(self.samples)

    @override
    def size(self) -> str:
        return str(self.samples)

    @override
    def described(self) -> str:
        return f"{self.samples:,} importance samples ({self.proposal} proposal) an image"

    @override
    def estimate(self, model: Any, images: Images, indices: Tensor, seed: int) -> Estimate:
        return log_likelihood(model, images.x, self.samples, proposal=self.proposal, seed=seed, indices=indices)

    @override
    def values(self) -> Values:
        bounds: Values = {f"bound_{k}": ("k_curve", index) for index, k in enumerate(k_values(self.samples))}
        return LIKELIHOOD_VALUES | {"khat": ("khat", None)} | bounds

    @override
    def summary(self, estimate: Estimate, spec: DataSpec) -> Summary:
        drawn = math.ceil(self.samples / max(1, len(PROPOSALS[self.proposal])))
        bounds = map(number, estimate.k_curve.mean(0))
        return likelihood_summary(estimate, spec, drawn) | {
            "khat_above_0_7": number(above(estimate.khat, KHAT_LIMIT).mean()),
            "k_curve": dict(zip(map(str, k_values(self.samples)), bounds, strict=True)),
        }

    @override
    def figure(self, model: Any, estimate: Estimate, images: Tensor, spec: DataSpec, title: str, seed: int) -> "Figure":
        some = torch.linspace(0, len(images) - 1, min(_HISTOGRAM_IMAGES, len(images))).long()
        weights = log_weights(
            model, images[some].float(), self.samples, proposal=self.proposal, seed=seed, indices=some
        )
        return likelihood_figure(estimate, weights, images, spec.shape, title)

    @override
    @classmethod
    def verdict(cls, summaries: Sequence[Summary]) -> str:
        shares = [summary["khat_above_0_7"] for summary in summaries]
        if None in shares:
            return "k̂ needs at least 25 samples per image, so the accuracy of these NLLs is unknown."
        if max(shares) == 0:
            return f"No image has k̂ > {KHAT_LIMIT}: the NLLs and their standard errors can be trusted."
        return (
            f"k̂ > {KHAT_LIMIT} for up to {max(shares):.0%} of the images: their NLL is probably too high, and its "
            "sampling error too small. --estimator annealed is more accurate at the same cost."
        )

    @override
    @classmethod
    def overview(cls, summaries: Mapping[str, Summary], title: str) -> "Figure":
        return k_curves({name: summary["k_curve"] for name, summary in summaries.items()}, title)
