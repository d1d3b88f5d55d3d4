"""How the numbers of runs are shown: the same heading, unit and digits in every table."""

from collections.abc import Sequence

from nfvae.registry import check_choice
from nfvae.runs.estimators import estimator_classes
from nfvae.runs.tables import Column

_CALLED = {"bpd": "bits_per_dim", "bits_per_pixel": "bits_per_dim", "bits/dim": "bits_per_dim"}
_OF_RUNS = [
    Column("run", "run", names=True, main=True),
    Column("experiment", "experiment", names=True, main=True),
    Column("seeds", "seeds", 0, meaning="number of runs that differ in their seed alone", main=True),
    Column("parameters", "parameters", 0, meaning="number of trained parameters"),
    Column("epochs", "epochs", 0, meaning="epochs of training, mean over seeds"),
    Column("training_seconds", "training, s", 1, meaning="wall time of all epochs, mean over seeds"),
    Column("epoch_seconds", "epoch, s", 1, meaning="wall time of the median epoch, mean over seeds"),
    Column("images", "images", 0, meaning="number of evaluated images"),
    Column("split", "split", meaning="part of the data set, or simulated from the model", names=True),
    Column("label", "estimator", meaning="estimator of log p(x), with its size", names=True, main=True),
    Column("estimator", "estimator", meaning="estimator of log p(x)", names=True),
]
_BOUNDS = [
    Column(
        "elbo",
        "-ELBO, nats",
        2,
        "elbo_se",
        sign=-1,
        meaning="negative evidence lower bound: an upper bound of the NLL",
        pooled=True,
        main=True,
        lower=True,
    ),
    Column(
        "nll",
        "NLL, nats",
        2,
        "nll_se",
        meaning="estimated -log p(x), too high on average",
        pooled=True,
        main=True,
        lower=True,
    ),
]
_OF_LIKELIHOODS = [
    Column(
        "nll_mc_se",
        "std. error, sampling",
        3,
        meaning="standard error of the NLL from sampling alone, without that over images",
    ),
    Column("gap", "gap, nats", 2, meaning="-ELBO minus NLL: how loose the bound is", pooled=True, main=True),
    Column("kl", "KL, nats", 2, meaning="KL(q(z|x) || p(z)), the information in the latents", pooled=True),
    Column(
        "bits_per_dim", "bits/dim", 4, meaning="NLL in bits per dimension, such as a pixel", pooled=True, lower=True
    ),
    Column(
        "active_units",
        "active units",
        1,
        meaning="latents whose posterior mean varies by more than 0.01",
        pooled=True,
    ),
    Column(
        "ess_median",
        "ESS, median",
        1,
        meaning="effective sample size of an image, median over images",
        pooled=True,
    ),
    Column("ess_p05", "ESS, 5%", 1, meaning="effective sample size, 5th percentile over images"),
]
_LAST = [
    Column(
        "draw_ms", "sampling, ms", 1, meaning="time to draw 100 posterior samples for each of 100 images", pooled=True
    ),
    Column("seconds", "evaluation, s", 1, meaning="wall time of the evaluation"),
    Column(
        "difference_mean",
        "NLL - baseline, nats",
        3,
        "difference_se_images",
        meaning="difference to the baseline, paired image by image, ± standard error over images",
        main=True,
    ),
    Column(
        "difference_se_seeds", "std. error, seeds", 3, meaning="standard error of the difference over seeds", main=True
    ),
]


def columns() -> list[Column]:
    """Return the columns of every table of runs, in their order."""
    by_estimator = [
        Column(
            f"nll_{name}",
            f"NLL, {name}, nats",
            2,
            f"nll_{name}_se",
            meaning="NLL by this estimator",
            pooled=True,
            main=True,
            lower=True,
        )
        for name in estimator_classes("compare")
    ]
    settings, results = _of_estimators("of_settings"), _of_estimators("of_results")
    return [*_OF_RUNS, *settings, *_BOUNDS, *by_estimator, *_OF_LIKELIHOODS, *results, *_LAST]


def shown_columns(names: Sequence[str], known: Sequence[Column]) -> list[Column]:
    """Return the named columns in the given order; for no names the main ones, for `all` every one.

    Raises:
        ValueError: for an unknown name.
    """
    if not names:
        return [column for column in known if column.main]
    if "all" in names:
        return [column for column in known if column.key != "label"]  # its parts have their own columns
    by_name = {column.key: column for column in known}
    for name in names:
        if name in _CALLED:
            raise ValueError(f"unknown column {name!r}; did you mean {_CALLED[name]}?")
        check_choice("column", name, by_name)
    return [by_name[name] for name in dict.fromkeys(names)]


def estimator_settings() -> list[str]:
    """Return the names, in evaluations, of the settings of estimators whose NLLs are compared."""
    names = [name for each in estimator_classes("compare").values() for name in each.defaults()]
    return ["estimator", *dict.fromkeys(names)]


def _of_estimators(attribute: str) -> list[Column]:
    """Return the columns that estimators declare, each once."""
    declared = [column for each in estimator_classes().values() for column in getattr(each, attribute)]
    return list({column.key: column for column in declared}.values())
