"""`nfvae sample`: images from a trained run."""

from pathlib import Path

import pytorch_lightning as pl

from nfvae.commands.arguments import Parser
from nfvae.plots import image_grid
from nfvae.runs import Run


def sample_command(arguments: list[str]) -> None:
    """Draw images from a trained run into a PNG."""
    parser = Parser("nfvae sample", sample_command.__doc__)
    parser.add_runs("run", None)
    parser.add_argument("--count", type=int, default=64, help="number of images (default: 64)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples (default: 0)")
    parser.add_argument("--output", type=Path, help="PNG to write; by default RUN/samples-COUNT.png")
    options = parser.parse_args(arguments)
    if options.count < 1:
        raise ValueError(f"--count must be at least 1; got {options.count}")
    run = Run(options.run, options.trust)
    model, shape = run.vae(), run.images().shape
    pl.seed_everything(options.seed, verbose=False)
    path = options.output or run.folder.picture(f"samples-{options.count}")
    image_grid(model.sample(options.count), shape, columns=min(8, options.count)).savefig(path)
    print(path)
