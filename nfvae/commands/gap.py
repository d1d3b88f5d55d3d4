"""`nfvae gap`: why the ELBO of trained runs misses the likelihood."""

import sys

from nfvae.commands.arguments import Parser
from nfvae.commands.evaluate import estimation_parser, show, summarize
from nfvae.commands.pictures import gap_picture
from nfvae.runs import Run
from nfvae.runs.files import write_figure

_IMAGES = "how many, the first ones (default: 100; a hundred take minutes)"


def gap_command(arguments: list[str]) -> None:
    """Split what lies between the ELBO and log p(x) into an approximation gap and an amortization gap.

    For each image the posterior's parameters are optimized for this image alone, from where the encoder puts them and
    from random starts, until the ELBO has settled. What then is left to log p(x), which annealed importance sampling
    estimates, is what the posterior's family cannot do; the rest is what the encoder does not find.

    Writes RUN/evaluation-SPLIT-gap-SIZE-firstN.json, .csv and .png, and RUN/plots/gap.png of all runs beside the first.
    """
    options = gap_parser().parse_args(arguments)
    summaries = summarize(options)
    path, out = Run(options.runs[0]).folder.drawn("gap"), sys.stdout if options.format == "table" else sys.stderr
    try:
        write_figure(path, gap_picture({summary["run"]: summary for summary in summaries}))
        print(path, file=out)
    except ValueError as error:  # of runs on different images, whose numbers are told all the same
        print(f"no picture: {error}", file=out)
    show(summaries, options.format)


def gap_parser() -> Parser:
    """Return the parser of the command."""
    return estimation_parser("nfvae gap", gap_command.__doc__, ["gap"], images=_IMAGES)
