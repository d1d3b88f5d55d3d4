"""`nfvae sample`: images from a trained run."""

from pathlib import Path

import pytorch_lightning as pl

from nfvae.commands.arguments import Parser, picture_path
from nfvae.commands.pictures import sample_figure
from nfvae.runs import Run
from nfvae.runs.files import write_figure


def sample_command(arguments: list[str]) -> None:
    """Draw images from a trained run."""
    parser = Parser("nfvae sample", sample_command.__doc__)
    parser.add_runs("run", None)
    parser.add_argument("--count", type=int, default=64, help="number of images (default: 64)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples (default: 0)")
    parser.add_argument("--output", type=Path, help="file to write (default: RUN/plots/samples-COUNT.png)")
    options = parser.parse_args(arguments)
    if options.count < 1:
        raise ValueError(f"--count must be at least 1; got {options.count}")
    run = Run(options.run, options.trust)
    pl.seed_everything(options.seed, verbose=False)
    path = picture_path(options.output) if options.output is not None else run.folder.drawn(f"samples-{options.count}")
    write_figure(path, sample_figure(run, options.count))
    print(path)
