"""The exact log-density of a density run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from typing_extensions import override

from nfvae.flows import check_exact
from nfvae.models import DataSpec
from nfvae.plots import exact_figure
from nfvae.runs.estimators.base import Estimator, Images, Summary, Values
from nfvae.runs.summaries import error_of_mean, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ExactEstimate(NamedTuple):
    """Exact values of B data; float64, shape (B,), in nats.

    Attributes:
        log_likelihood: log p(x).
        standard_error: 0, as nothing is sampled.
    """

    log_likelihood: Tensor
    standard_error: Tensor


@dataclass
class Exact(Estimator):
    """The log-density of a flow itself, of which nothing is estimated; densities are evaluated by it."""

    name = "exact"
    kinds = ("density",)
    commands = ("evaluate",)
    help = "log p(x) of a density, which is exact; densities take no other"
    result = ExactEstimate
    images_per_part = 5_000

    @override
    def size(self) -> str:
        return ""

    @override
    def described(self) -> str:
        return "exact log-density"

    @override
    def images(self, build: Callable[[], Any], read: Callable[[], Tensor], limit: int | None, seed: int) -> Images:
        check_exact("the NLL of a density", build())
        return Images(read()[:limit])

    @override
    def estimate(self, model: Any, images: Images, indices: Tensor, seed: int) -> ExactEstimate:
        with torch.no_grad():
            log_prob = model.log_prob(images.x).double()
        return ExactEstimate(log_prob, torch.zeros_like(log_prob))

    @override
    def values(self) -> Values:
        return {"log_likelihood": ("log_likelihood", None), "se": ("standard_error", None)}

    @override
    def summary(self, estimate: ExactEstimate, spec: DataSpec) -> Summary:
        log_likelihood = estimate.log_likelihood
        return {"nll": number(-log_likelihood.mean()), "nll_se": number(error_of_mean(log_likelihood))}

    @override
    def figure(
        self, model: nn.Module, estimate: ExactEstimate, images: Tensor, spec: DataSpec, title: str, seed: int
    ) -> "Figure":
        return exact_figure(estimate.log_likelihood, images, spec.shape, title)

    @override
    @classmethod
    def verdict(cls, summaries: Sequence[Summary]) -> str:
        return "Log-densities of flows are exact. They are those of the data in their own units."
