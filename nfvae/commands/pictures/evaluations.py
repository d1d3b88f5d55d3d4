"""Pictures of evaluations of several runs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.commands.pictures.base import Given, Picture
from nfvae.plots import gain_bars
from nfvae.runs.comparison import check_same
from nfvae.runs.estimators import Estimator
from nfvae.runs.estimators.annealed import Annealed
from nfvae.runs.estimators.gap import Gap
from nfvae.runs.estimators.importance import Importance
from nfvae.runs.evaluation import shown_data
from nfvae.runs.results import read_summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Overview(Picture):
    """The evaluations of several runs by one estimator, in the estimator's own picture.

    Attributes:
        estimator: class of the estimator.
    """

    estimator: ClassVar[type[Estimator]]

    @override
    def draw(self, given: Given) -> "Figure":
        settings = given.evaluations[self.estimator.name]
        return overview(self.estimator, {name: read_summary(run, settings) for name, run in given.named().items()})


class KCurve(Overview):
    """The bound of k importance samples over k, beside that of samples of p(z) where there is one."""

    help = "importance-sampled NLL over the number of samples; needs nfvae evaluate (and --proposal prior to compare)"
    estimator = Importance

    @override
    def draw(self, given: Given) -> "Figure":
        settings = given.evaluations[self.estimator.name]
        for run in given.named().values():
            if run.kind != "vae":
                raise ValueError(f"a density has no importance samples: leave out {run.folder.path}")
        summaries = {name: read_summary(run, settings) for name, run in given.named().items()}
        by_prior = settings._replace(estimator=Importance(**settings.estimator.settings() | {"proposal": "prior"}))
        for name, run in given.named().items():
            if by_prior != settings and by_prior.path(run).is_file():
                summaries[f"{name}, samples of p(z)"] = read_summary(run, by_prior)
        return overview(self.estimator, summaries)


class Gaps(Overview):
    """The approximation and the amortization gap of each run."""

    help = "approximation and amortization gap; needs nfvae gap with the same --limit and --budget"
    estimator = Gap


class Gain(Picture):
    """The gain of each run over the first one."""

    help = "gain over the first run, split into model, bound and estimator; needs both estimators"

    @override
    def draw(self, given: Given) -> "Figure":
        runs = given.named() if given.runs else {}
        if len(runs) < 2:
            raise ValueError("this picture takes at least two runs: the first is the one that others are compared with")
        evaluations = [given.evaluations[kind.name] for kind in (Importance, Annealed)]
        summaries = {name: [read_summary(run, settings) for settings in evaluations] for name, run in runs.items()}
        check_same([(name, summary) for name, both in summaries.items() for summary in both])
        baseline, *others = summaries
        parts = {name: _parts(*both) for name, both in summaries.items()}
        gains = {name: parts[baseline] - parts[name] for name in others}
        return gain_bars(gains, baseline, _of_images(summaries[baseline][0]))


def overview(kind: type[Estimator], summaries: Mapping[str, dict[str, Any]]) -> "Figure":
    """Draw the evaluations of several runs by one estimator, given their summaries by run name.

    Raises:
        ValueError: for evaluations of different images.
    """
    check_same([*summaries.items()])
    return kind.overview(summaries, _of_images(next(iter(summaries.values()))))


def _parts(importance: dict[str, Any], annealed: dict[str, Any]) -> Tensor:
    """Return the annealed NLL, -ELBO minus that NLL, and the importance-sampled NLL minus that NLL."""
    nll = annealed["nll"]
    return torch.tensor([nll, -annealed["elbo"] - nll, importance["nll"] - nll])


def _of_images(summary: dict[str, Any]) -> str:
    return f"{shown_data(summary)}, {summary['split']} set, {summary['images']:,} images"
