"""`nfvae sample`: images from a trained run."""

from pathlib import Path

import pytorch_lightning as pl

from nfvae.commands.arguments import Parser, check_file
from nfvae.commands.pictures import sample_figure
from nfvae.registry import check_number
from nfvae.runs import Run
from nfvae.runs.files import write_figure

_MOST_IMAGES = 10_000  # of a picture


def sample_command(arguments: list[str]) -> None:
    """Draw images from a trained run."""
    parser = Parser("nfvae sample", sample_command.__doc__)
    parser.add_runs("run", None)
    parser.add_argument("--count", type=int, default=64, help="number of images (default: 64)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples (default: 0)")
    parser.add_argument("--output", type=Path, help="file to write (default: RUN/plots/samples-COUNT.png)")
    options = parser.parse_args(arguments)
    check_number("--count", options.count, least=1, most=_MOST_IMAGES)
    if options.output is not None:
        check_file("--output", options.output)
    run = Run(options.run, options.trust)
    pl.seed_everything(options.seed, verbose=False)
    path = options.output or run.folder.drawn(f"samples-{options.count}")
    write_figure(path, sample_figure(run, options.count))
    print(path)
