"""`nfvae impute`: missing values of your own data."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nfvae.commands.arguments import Parser, check_file, check_new
from nfvae.commands.reading import input_rows
from nfvae.estimators import Imputation, impute
from nfvae.estimators.pareto import KHAT_LIMIT
from nfvae.plots import image_grid
from nfvae.registry import check_seed, check_sizes
from nfvae.runs import Run
from nfvae.runs.files import whole_file, write_figure, write_whole
from nfvae.runs.tables import Table, as_records, paragraph

_PICTURED, _SHOWN = 8, 5  # images, and imputations of each, in the picture


def impute_command(arguments: list[str]) -> None:
    """Fill in missing values: NaN or empty cells of vectors, or pixels where the array mask of a file is 0.

    Each imputation draws the missing values from their distribution given the observed ones. Several imputations show
    how uncertain they are.

    Writes an .npz with

    values          imputations with shape (imputations, N, ...)
    mean            data whose missing values are their means, with shape (N, ...)
    log_likelihood  log p(x) of the observed values with shape (N,), in nats
    ess, khat       effective sample size and Pareto k̂ of the weights, with shape (N,)

    or, for vectors, a .csv with the columns imputation, index and the values. Of images it also draws a picture.
    """
    options = impute_parser().parse_args(arguments)
    check_seed("--seed", options.seed)
    check_sizes(**{"--samples": options.samples, "--imputations": options.imputations})
    if options.output is not None:
        check_file("--output", options.output, (".npz", ".csv"))
        check_new("--output", options.output)
    run = Run(options.run)
    model, spec = run.vae(missing=True), run.spec
    x = model.as_data(input_rows(run, options, missing=True))
    if not (holes := x[:, : spec.size].isnan()).any():
        raise ValueError(f"{options.input} has no missing values: nothing is to be imputed")
    path: Path = options.output or run.folder.path / f"imputed-{options.input.stem}.npz"
    found = impute(model, x, options.imputations, options.samples, seed=options.seed)
    _write(path, found, run)
    written = [path]
    if len(spec.shape) > 1:
        written.append(path.with_suffix(".png"))
        write_figure(written[-1], _picture(x[:, : spec.size], found, run))
    counts = f"{int(holes.sum()):,} of {holes.numel():,} values were missing"
    print(paragraph(f"{counts}; {_verdict(found, run, options.samples)}."))
    print(f"written: {', '.join(map(str, written))}")


def impute_parser() -> Parser:
    """Return the parser of the command."""
    parser = Parser("nfvae impute", impute_command.__doc__)
    parser.add_runs("run", None)
    text = "vectors: a table or one array (N, D); images: an .npz with one array of images, and mask of the same shape"
    parser.add_argument("--input", type=Path, required=True, help=text)
    parser.add_argument("--imputations", type=int, default=10, help="imputations of each datum (default: 10)")
    parser.add_argument("--samples", type=int, default=1000, help="importance samples of each datum (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.add_condition()
    parser.add_argument("--output", type=Path, help="file to write (default: RUN/imputed-INPUT.npz)")
    return parser


def _write(path: Path, found: Imputation, run: Run) -> None:
    if path.suffix.lower() == ".csv":
        if not run.names.columns:
            raise ValueError(f"run {run.folder.path} models images: --output takes an .npz")
        rows = [
            {"imputation": number, "index": index, **row}
            for number, table in enumerate(found.values)
            for index, row in enumerate(as_records(table, run.names.columns))
        ]
        write_whole(path, Table(rows, []).csv() + "\n")
        return
    named: dict[str, Any] = {name: getattr(found, name) for name in Imputation._fields}
    for each in ("values", "mean"):
        named[each] = named[each].view(*named[each].shape[:-1], *run.spec.shape)
    with whole_file(path) as file:
        np.savez(file, **{name: value.numpy() for name, value in named.items()})


def _picture(x: Tensor, found: Imputation, run: Run) -> Any:
    """Draw some data with missing values, then their means and some imputations, one row each."""
    shown = found.values[:_SHOWN, :_PICTURED].movedim(0, 1)
    images = torch.cat([x[:_PICTURED, None], found.mean[:_PICTURED, None], shown], 1)
    labels = ["input", "mean", *[""] * shown.shape[1]]
    title = f"{run.folder.name}: input, mean and imputations"
    return image_grid(images.flatten(0, 1), run.spec.shape, images.shape[1], title, column_labels=labels)


def _verdict(found: Imputation, run: Run, samples: int) -> str:
    """Say how far the imputations can be trusted."""
    if found.khat.isnan().any():
        return "k̂ needs at least 25 samples, so the accuracy of the imputations is unknown"
    share = float((found.khat > KHAT_LIMIT).double().mean())
    if not share:
        return f"no datum has k̂ > {KHAT_LIMIT}, so the imputations can be trusted under this model"
    hint = "" if run.spec.missing else ", or train with missing values"
    return (
        f"k̂ > {KHAT_LIMIT} for {share:.0%} of the data, whose imputations rest on a few of the {samples:,} samples and "
        f"vary too little: use more --samples{hint}"
    )
