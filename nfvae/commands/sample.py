"""`nfvae sample`: images from a trained run."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from torch import Tensor

from nfvae.commands.arguments import PICTURES, Parser, check_file
from nfvae.commands.pictures.images import sample_figure
from nfvae.registry import check_number, check_seed
from nfvae.runs import Run
from nfvae.runs.files import whole_file, write_figure

_MOST_PICTURED, _MOST_IMAGES = 10_000, 10_000_000  # in one picture; in an .npz or a folder


def sample_command(arguments: list[str]) -> None:
    """Draw images from a trained model, as probabilities of their pixels."""
    options = sample_parser().parse_args(arguments)
    _check(options.output, options.count)
    check_seed("--seed", options.seed)
    run = Run(options.run)
    pl.seed_everything(options.seed, verbose=False)
    path = options.output or run.folder.drawn(f"samples-{options.count}")
    if path.suffix.lower() in PICTURES:
        write_figure(path, sample_figure(run, options.count, options.temperature))
    else:
        _write_images(path, run.vae().sample(options.count, options.temperature).view(-1, *run.spec.shape))
    print(path)


def _check(output: Path | None, count: int) -> None:
    """Refuse more images than the output can hold, and a folder that holds other pictures."""
    if (output is None or output.suffix.lower() in PICTURES) and count > _MOST_PICTURED:
        limit = f"--count must be at most {_MOST_PICTURED:,}; got {count}"
        raise ValueError(f"{limit}: for more give an .npz or a folder as --output")
    check_number("--count", count, least=1, most=_MOST_IMAGES)
    if output is not None and (output.suffix or output.is_file()):
        check_file("--output", output, (*PICTURES, ".npz"))
    if output is not None and output.is_dir():
        others = {path.name for path in output.iterdir() if path.suffix.lower() in PICTURES} - {*_names(count)}
        if others:
            raise ValueError(f"{output} holds {min(others)}, which is none of the {count} new pictures: empty it first")


def _names(count: int) -> Iterator[str]:
    digits = max(5, len(str(count - 1)))
    return (f"{place:0{digits}}.png" for place in range(count))


def sample_parser() -> Parser:
    """Return the parser of the command."""
    parser = Parser("nfvae sample", sample_command.__doc__)
    parser.add_runs("run", None)
    parser.add_argument("--count", type=int, default=64, help="number of images (default: 64)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.add_argument(
        "--temperature",
        type=float,
        default=1.0,
        help="factor on the prior's noise: below 1 images are cleaner and more alike (default: 1)",
    )
    text = "file to write: a picture, an .npz, or a folder of .png files (default: RUN/plots/samples-COUNT.png)"
    parser.add_argument("--output", type=Path, help=text)
    return parser


def _write_images(path: Path, probabilities: Tensor) -> None:
    """Write pixel probabilities with shape (N, height, width) as one .npz, or as gray pictures into a folder."""
    if path.suffix == ".npz":
        with whole_file(path) as file:
            np.savez(file, images=probabilities.numpy())
        return
    path.mkdir(parents=True, exist_ok=True)
    for name, image in zip(_names(len(probabilities)), probabilities, strict=True):
        with whole_file(path / name) as file:
            Image.fromarray((255 * image).round().to(torch.uint8).numpy()).save(file, "PNG")
