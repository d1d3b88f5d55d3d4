"""How the numbers of runs are shown: the same heading, unit and digits in every table."""

from nfvae.runs.estimators import estimator_classes
from nfvae.runs.tables import Column

_OF_RUNS = [
    Column("run", "run", names=True),
    Column("experiment", "experiment", names=True),
    Column("seeds", "seeds", 0, meaning="runs that differ in nothing but their seed"),
    Column("parameters", "parameters", 0, meaning="numbers that training sets"),
    Column("epochs", "epochs", 0, meaning="of training, mean over seeds"),
    Column("training_seconds", "training, s", 1, meaning="wall time of all epochs, mean over seeds"),
    Column("epoch_seconds", "an epoch, s", 1, meaning="wall time of the median epoch, mean over seeds"),
    Column("images", "images", 0, meaning="that were evaluated"),
    Column("split", "images of", meaning="the data set's split, or simulated from the model", names=True),
    Column("estimator", "estimator", meaning="of log p(x)", names=True),
]
_BOUNDS = [
    Column(
        "elbo",
        "-ELBO, nats",
        2,
        "elbo_se",
        sign=-1,
        meaning="negative evidence lower bound, above the NLL",
        pooled=True,
    ),
    Column(
        "nll",
        "NLL, nats",
        2,
        "nll_se",
        meaning="estimated -log p(x), in expectation above the true one",
        pooled=True,
    ),
]
_OF_LIKELIHOODS = [
    Column("nll_mc_se", "± sampling", 3, meaning="standard error of the NLL from samples or chains alone"),
    Column("gap", "gap, nats", 2, meaning="-ELBO above NLL: how loose the bound is", pooled=True),
    Column("kl", "KL, nats", 2, meaning="KL(q(z|x) || p(z)), what the latents say of an image", pooled=True),
    Column("bits_per_pixel", "bits/pixel", 4, meaning="NLL in bits, shared among the pixels", pooled=True),
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
        meaning="effective sample size of an image's samples, median over images",
        pooled=True,
    ),
    Column("ess_p05", "ESS, 5%", 1, meaning="effective sample size, 5th percentile over images"),
]
_LAST = [
    Column("draw_ms", "sampling, ms", 1, meaning="time of 100 posterior samples of each of 100 images", pooled=True),
    Column("seconds", "evaluation, s", 1, meaning="wall time of the evaluation"),
    Column(
        "difference_mean",
        "NLL - baseline, nats",
        3,
        "difference_se_images",
        meaning="paired image by image; ± standard error over images",
    ),
    Column("difference_se_seeds", "± seeds", 3, meaning="standard error of the difference over seeds"),
]


def columns() -> list[Column]:
    """Return the columns of every table of runs, in their order."""
    by_estimator = [
        Column(
            f"nll_{name}",
            f"NLL, {name}, nats",
            2,
            f"nll_{name}_se",
            meaning="the same, by one of several estimators",
            pooled=True,
        )
        for name in estimator_classes("compare")
    ]
    settings, results = _of_estimators("of_settings"), _of_estimators("of_results")
    return [*_OF_RUNS, *settings, *_BOUNDS, *by_estimator, *_OF_LIKELIHOODS, *results, *_LAST]


def estimator_settings() -> list[str]:
    """Return the names of the settings of estimators whose NLLs are compared, in evaluations."""
    names = [name for each in estimator_classes("compare").values() for name in each.defaults()]
    return ["estimator", *dict.fromkeys(names)]


def _of_estimators(attribute: str) -> list[Column]:
    """Return the columns that estimators declare, each once."""
    declared = [column for each in estimator_classes().values() for column in getattr(each, attribute)]
    return list({column.key: column for column in declared}.values())
