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

_IMAGES = "use only the first N images (default: 100, which take some ten minutes)"


def gap_command(arguments: list[str]) -> None:
    """Split the gap between ELBO and log p(x) into an approximation gap (flow) and an amortization gap (encoder).

    The posterior of each image is optimized for this image alone, from the encoder's posterior and from random starts,
    until its ELBO settles. The remaining distance to log p(x) is the approximation gap, the rest the amortization gap.
    Annealed importance sampling estimates log p(x). --free chooses the parameters that are optimized.

    Writes RUN/evaluation-SPLIT-gap-SIZE-firstN.json, .csv and .png, and a picture of all runs, RUN/plots/gap.png.
    """
    options = gap_parser().parse_args(arguments)
    summaries = summarize(options)
    name = "-".join(["gap", *chosen_estimators(options)[0].qualifiers()])
    path, out = Run(options.runs[0]).folder.drawn(name), sys.stdout if options.format == "table" else sys.stderr
    try:
        names = names_of([Run(path) for path in dict.fromkeys(options.runs)])
        write_figure(path, overview(Gap, dict(zip(names, summaries, strict=True))))
        print(path, file=out)
    except ValueError as error:  # runs on different images; their numbers are printed below
        print(f"no picture: {error}", file=out)
    show(summaries, options.format, options.columns, options.caption)


def gap_parser() -> Parser:
    """Return the parser of the command."""
    return estimation_parser("nfvae gap", gap_command.__doc__, estimator_classes("gap"), _IMAGES)
