"""An estimator of the user's own: the whole of what adding one takes."""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from nfvae.estimators.annealed import standard_error
from nfvae.estimators.streaming import check_samples
from nfvae.numerics import log_mean_exp
from nfvae.plots.canvas import new_figure
from nfvae.runs.estimators import Argument, Estimator
from nfvae.runs.summaries import error_of_mean, number
from nfvae.runs.tables import Column


class NaiveEstimate(NamedTuple):
    log_likelihood: torch.Tensor
    elbo: torch.Tensor
    standard_error: torch.Tensor


@dataclass
class Naive(Estimator):
    """The mean of p(x|z) over samples of the prior."""

    draws: int = 10
    flavor: str = "plain"

    name = "naive"
    commands = "evaluate", "compare", "score"
    help = "the mean of p(x|z) over samples of the prior"
    arguments = {  # noqa: RUF012
        "draws": Argument("samples of the prior", int, draws),
        "flavor": Argument("of the samples", str, flavor, ("plain", "sweet")),
    }
    result = NaiveEstimate
    of_settings = (Column("draws", "draws", 0, names=True, of="estimator"),)
    of_results = (Column("naivety", "naivety, nats", 1, pooled=True, main=True),)

    def __post_init__(self):
        check_samples(self.draws)

    def size(self):
        return str(self.draws)

    def described(self):
        return f"{self.draws} {self.flavor} samples of the prior"

    def estimate(self, model, images, indices, seed):
        with torch.no_grad():
            torch.manual_seed(seed)
            log_p = model.decode(model.prior().sample((self.draws,))[:, None]).log_prob(images.x).double()
        return NaiveEstimate(log_mean_exp(log_p), log_p.mean(0), standard_error(log_p))

    def values(self):
        return {"log_likelihood": ("log_likelihood", None), "elbo": ("elbo", None)}

    def summary(self, estimate, pixels):
        nll, elbo = -estimate.log_likelihood, estimate.elbo
        values = {"nll": nll.mean(), "nll_se": error_of_mean(nll), "elbo": elbo.mean(), "elbo_se": error_of_mean(elbo)}
        return {name: number(value) for name, value in (values | {"naivety": (nll + elbo).mean()}).items()}

    def figure(self, model, estimate, images, shape, title, seed):
        figure = new_figure(4, 3)
        figure.add_subplot(title=title).hist(estimate.log_likelihood.numpy())
        return figure

    @classmethod
    def verdict(cls, summaries):
        return f"Do not believe these {len(summaries)}."
