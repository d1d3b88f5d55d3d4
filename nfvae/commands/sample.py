"""`nfvae sample`: data from a trained model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from torch import Tensor

from nfvae.commands.arguments import PICTURES, Parser, check_file, check_new
from nfvae.commands.pictures.images import sample_figure
from nfvae.commands.sampling import draw_samples, usual_condition, usual_values
from nfvae.models.vae import VALUES
from nfvae.registry import check_number, check_seed
from nfvae.runs import Run
from nfvae.runs.files import whole_file, write_figure, write_whole
from nfvae.runs.tables import Table, as_records

_MOST_PICTURED, _MOST_DATA = 10_000, 10_000_000  # in one picture; in a file or a folder


def sample_command(arguments: list[str]) -> None:
    """Draw images or vectors from a trained model.

    Images are means of p(x|z), such as pixel probabilities, and vectors are samples; --values chooses.
    """
    options = sample_parser().parse_args(arguments)
    _check(options.output, options.count)
    check_seed("--seed", options.seed)
    run = Run(options.run)
    condition = run.names.condition_of(options.label, options.condition)
    pl.seed_everything(options.seed, verbose=False)
    path = options.output or run.folder.drawn(f"samples-{options.count}{_suffix(options.label)}")
    chosen = options.temperature, options.values or usual_values(run), condition
    if path.suffix.lower() in PICTURES:
        write_figure(path, sample_figure(run, options.count, *chosen))
    elif path.suffix.lower() == ".csv":
        condition = usual_condition(run, options.count) if condition is None else condition
        drawn = draw_samples(run, options.count, options.temperature, options.values or usual_values(run), condition)
        _write_table(path, drawn, condition, run)
    else:
        _write_arrays(path, draw_samples(run, options.count, *chosen).view(-1, *run.spec.shape))
    print(path)


def _suffix(label: str | None) -> str:
    return "" if label is None else f"-{''.join(letter if letter.isalnum() else '_' for letter in label)}"


def _check(output: Path | None, count: int) -> None:
    """Refuse more data than the output can hold, and a folder that holds other pictures."""
    if (output is None or output.suffix.lower() in PICTURES) and count > _MOST_PICTURED:
        limit = f"--count must be at most {_MOST_PICTURED:,}; got {count}"
        raise ValueError(f"{limit}: for more give an .npz, a .csv or a folder as --output")
    check_number("--count", count, least=1, most=_MOST_DATA)
    if output is not None and (output.suffix or output.is_file()):
        check_file("--output", output, (*PICTURES, ".npz", ".csv"))
        check_new("--output", None if output.suffix.lower() in PICTURES else output)
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
    parser.add_argument("--count", type=int, default=64, help="number of images or vectors (default: 64)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.add_argument(
        "--temperature",
        type=float,
        default=1.0,
        help="factor on the prior's noise: below 1 images are cleaner and more alike (default: 1)",
    )
    text = "values that stand for p(x|z): mean, sample or mode (default: mean of images, sample of vectors)"
    parser.add_argument("--values", choices=VALUES, help=text)
    parser.add_condition()
    text = (
        "file to write: a picture, an .npz, a .csv of vectors, or a folder of .png files "
        "(default: RUN/plots/samples-COUNT.png)"
    )
    parser.add_argument("--output", type=Path, help=text)
    return parser


def _write_table(path: Path, vectors: Tensor, condition: Tensor | None, run: Run) -> None:
    """Write vectors with shape (N, D) as a .csv with the names of their columns, and their labels or conditions."""
    if not run.names.columns:
        raise ValueError(f"run {run.folder.path} models images: --output takes a picture, an .npz or a folder")
    rows: list[dict[str, Any]] = [*as_records(vectors, run.names.columns)]
    if condition is not None:
        classes, names = run.names.classes, run.names.condition
        for row, given in zip(rows, condition.expand(len(vectors), -1).tolist(), strict=True):
            row.update({"label": classes[given.index(max(given))]} if classes else zip(names, given, strict=True))
    write_whole(path, Table(rows, []).csv() + "\n")


def _write_arrays(path: Path, drawn: Tensor) -> None:
    """Write images or vectors as one .npz, or images as pictures into a folder."""
    if path.suffix == ".npz":
        with whole_file(path) as file:
            named: dict[str, Any] = {"images" if drawn.ndim > 2 else "vectors": drawn.numpy()}
            np.savez(file, **named)
        return
    if drawn.ndim == 2 or (drawn.ndim == 4 and drawn.shape[1] != 3):
        raise ValueError(f"data of shape {[*drawn.shape[1:]]} are no pictures: --output takes an .npz or a .csv")
    path.mkdir(parents=True, exist_ok=True)
    levels = (255 * drawn.clamp(0, 1)).round().to(torch.uint8)
    for name, image in zip(_names(len(drawn)), levels if drawn.ndim == 3 else levels.movedim(1, -1), strict=True):
        with whole_file(path / name) as file:
            Image.fromarray(image.numpy()).save(file, "PNG")
