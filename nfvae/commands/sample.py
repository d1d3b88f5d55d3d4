"""`nfvae sample`: images from a trained run."""

from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from torch import Tensor

from nfvae.commands.arguments import PICTURES, Parser, check_file
from nfvae.commands.pictures import sample_figure
from nfvae.registry import check_number
from nfvae.runs import Run
from nfvae.runs.files import whole_file, write_figure

_MOST_IMAGES = 10_000  # of a picture


def sample_command(arguments: list[str]) -> None:
    """Draw images from a trained run: the probabilities of their pixels."""
    options = sample_parser().parse_args(arguments)
    check_number("--count", options.count, least=1, most=_MOST_IMAGES)
    if options.output is not None and (options.output.suffix or options.output.is_file()):
        check_file("--output", options.output, (*PICTURES, ".npz"))
    run = Run(options.run)
    pl.seed_everything(options.seed, verbose=False)
    path = options.output or run.folder.drawn(f"samples-{options.count}")
    if path.suffix in PICTURES:
        write_figure(path, sample_figure(run, options.count, options.temperature))
    else:
        _write_images(path, run.vae().sample(options.count, options.temperature).view(-1, *run.shape))
    print(path)


def sample_parser() -> Parser:
    """Return the parser of the command."""
    parser = Parser("nfvae sample", sample_command.__doc__)
    parser.add_runs("run", None)
    parser.add_argument("--count", type=int, default=64, help="number of images (default: 64)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples (default: 0)")
    parser.add_argument("--temperature", type=float, default=1.0, help="of the prior's noise (default: 1)")
    text = (
        "picture or .npz to write, or a folder (no ending) of one .png an image (default: RUN/plots/samples-COUNT.png)"
    )
    parser.add_argument("--output", type=Path, help=text)
    return parser


def _write_images(path: Path, probabilities: Tensor) -> None:
    """Write pixel probabilities with shape (N, height, width) as one .npz, or as gray pictures into a folder."""
    if path.suffix == ".npz":
        with whole_file(path) as file:
            np.savez(file, images=probabilities.numpy())
        return
    path.mkdir(parents=True, exist_ok=True)
    for place, image in enumerate((255 * probabilities).round().to(torch.uint8)):
        with whole_file(path / f"{place:05}.png") as file:
            Image.fromarray(image.numpy()).save(file, "PNG")
