"""`nfvae gap`: why the ELBO of trained runs misses the likelihood."""

import sys

from nfvae.commands.arguments import Parser, chosen_estimators
from nfvae.commands.evaluate import estimation_parser, show, summarize
from nfvae.commands.pictures.base import names_of
from nfvae.commands.pictures.evaluations import overview
from nfvae.runs import Run
from nfvae.runs.estimators import estimator_classes
from nfvae.runs.estimators.gap import Gap
from nfvae.runs.files import write_figure

_IMAGES = "number of images, the first ones (default: 100; a hundred take minutes)"


def gap_command(arguments: list[str]) -> None:
    """Split what lies between the ELBO and log p(x) into an approximation gap and an amortization gap.

    For each image the posterior's parameters are optimized for this image alone, from where the encoder puts them and
    from random starts, until the ELBO has settled. The distance that is then left to log p(x), which annealed
    importance sampling estimates, is what the posterior's family cannot do; the rest is what the encoder does not find.
    --free says which parameters are optimized.

    Writes RUN/evaluation-SPLIT-gap-SIZE-firstN.json, .csv and .png, and RUN/plots/gap.png of all runs beside the first.
    """
    options = gap_parser().parse_args(arguments)
    summaries = summarize(options)
    name = "-".join(["gap", *chosen_estimators(options)[0].qualifiers()])
    path, out = Run(options.runs[0]).folder.drawn(name), sys.stdout if options.format == "table" else sys.stderr
    try:
        names = names_of([Run(path) for path in dict.fromkeys(options.runs)])
        write_figure(path, overview(Gap, dict(zip(names, summaries, strict=True))))
        print(path, file=out)
    except ValueError as error:  # of runs on different images, whose numbers are printed all the same
        print(f"no picture: {error}", file=out)
    show(summaries, options.format)


def gap_parser() -> Parser:
    """Return the parser of the command."""
    return estimation_parser("nfvae gap", gap_command.__doc__, estimator_classes("gap"), _IMAGES)
