"""`nfvae encode` and `nfvae score`: a trained model on your own images."""

import csv
import zipfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from nfvae.commands.arguments import Parser, check_file, chosen_estimators, offer
from nfvae.commands.reading import input_rows
from nfvae.flows import check_exact
from nfvae.models import VAE
from nfvae.registry import check_seed, check_sizes
from nfvae.runs import EvaluationSettings, Run
from nfvae.runs.digests import content_digest
from nfvae.runs.estimators import Images, estimator_classes
from nfvae.runs.files import whole_file, write_whole
from nfvae.runs.tables import Table

_BATCH = 500  # images that are encoded at once
_DIGEST = "input_sha256"
_ESTIMATOR = "annealed"  # default estimator of scores


def encode_command(arguments: list[str]) -> None:
    """Encode data into posterior samples.

    Writes an .npz with

    z               posterior samples with shape (samples, N, D)
    log_q           their log-densities log q(z|x) with shape (samples, N), in nats
    mean            their mean with shape (N, D)
    loc, log_scale  parameters of the Gaussian before the flow, with shape (N, D)
    input_sha256    digest of the data, 32 bytes
    """
    options = encode_parser().parse_args(arguments)
    check_sizes(**{"--samples": options.samples})
    run = Run(options.run)
    run.check_kind("vae")
    path, model, x, digest = _opened(run, options, "encoded", ".npz")
    check_exact("log_q", model.posterior)
    pl.seed_everything(options.seed, verbose=False)
    encoded = _encoded(model, x, options.samples) | {_DIGEST: np.frombuffer(bytes.fromhex(digest), np.uint8)}
    with whole_file(path) as file:
        np.savez(file, **encoded)  # type: ignore[arg-type]  # by name, an option too
    print(path)


def encode_parser() -> Parser:
    """Return the parser of the command."""
    parser = _parser("nfvae encode", encode_command.__doc__)
    parser.add_argument("--samples", type=int, default=10, help="posterior samples per datum (default: 10)")
    parser.add_argument("--output", type=Path, help="file to write (default: RUN/encoded-INPUT.npz)")
    return parser


@torch.no_grad()
def _encoded(model: VAE, x: Tensor, samples: int) -> dict[str, NDArray[np.floating]]:
    parts = []
    for batch in torch.split(x, _BATCH):
        posterior = model.posterior(batch)
        draw, base = posterior.draw((samples,)), posterior.base
        parts.append((draw.z, draw.log_prob, draw.z.mean(0)[None], base.loc[None], base.scale.log()[None]))
    z, log_q, mean, loc, log_scale = (torch.cat(each, 1) for each in zip(*parts, strict=True))
    named = {"z": z, "log_q": log_q, "mean": mean[0], "loc": loc[0], "log_scale": log_scale[0]}
    return {name: value.numpy() for name, value in named.items()}


def score_command(arguments: list[str]) -> None:
    """Compute log p(x) of data, for example to find data unlike those of the training.

    Writes a .csv with one row per datum: index, log p(x) in nats, its standard error, and a digest of all data. With a
    label or condition y it is log p(x|y). That of a density is exact. Results of other data are not overwritten.
    """
    options = score_parser().parse_args(arguments)
    run = Run(options.run)
    [chosen] = chosen_estimators(options)
    estimator = EvaluationSettings(chosen).of_run(run).estimator
    path, model, x, digest = _opened(run, options, "scores", ".csv")
    found = estimator.estimate(model, Images(x), torch.arange(len(x)), options.seed)
    named = {name: getattr(found, name).tolist() for name in ("log_likelihood", "standard_error")}
    rows = [
        {"index": index, **dict(zip(named, values, strict=True)), _DIGEST: digest}
        for index, values in enumerate(zip(*named.values(), strict=True))
    ]
    write_whole(path, Table(rows, []).csv() + "\n")
    print(path)


def score_parser() -> Parser:
    """Return the parser of the command."""
    parser = _parser("nfvae score", score_command.__doc__)
    estimators = estimator_classes("score")
    text = f"estimator of log p(x): {' or '.join(estimators)} (default: {_ESTIMATOR})"
    offer(parser.add_argument("--estimator", nargs=1, default=[_ESTIMATOR], metavar="NAME", help=text), estimators)
    parser.add_estimators(estimators, samples=1000, budget="small")
    parser.add_argument("--output", type=Path, help="file to write (default: RUN/scores-INPUT.csv)")
    return parser


def _parser(name: str, description: str | None) -> Parser:
    parser = Parser(name, description)
    parser.add_runs("run", None)
    parser.add_argument(
        "--input",
        type=Path,
        required=True,
        help="images: an .npz, .npy or .pt file with one array of shape (N, height, width), binarized like the run's "
        "test images; vectors: a table or one array (N, D)",
    )
    parser.add_condition()
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    return parser


def _opened(run: Run, options: Namespace, name: str, ending: str) -> tuple[Path, Any, Tensor, str]:
    """Return the file to write, the model of a run, the input images with shape (N, P), and a digest of them."""
    check_seed("--seed", options.seed)
    if options.output is not None:
        check_file("--output", options.output, (ending,))
    path: Path = options.output or run.folder.path / f"{name}-{options.input.stem}{ending}"
    model: Any = run.model()
    rows = input_rows(run, options)
    if (run.data_settings.get("dataset_options") or {}).get("invert"):
        rank_zero_info("the run inverts its pictures; the input is taken as it is: 0 is paper, the largest value ink")
    x = model.as_data(rows) if isinstance(model, VAE) else rows
    digest = content_digest({"images": x.to(torch.uint8) if run.spec.levels == 2 and not run.spec.missing else x})
    if path.exists() and _input_digest(path) != digest:
        raise ValueError(f"{path} exists and has results of other data: give another --output, or delete it")
    return path, model, x, digest


def _input_digest(path: Path) -> str | None:
    """Return the digest of the images whose results a file holds; None if it has no digest."""
    try:
        if path.suffix.lower() == ".npz":
            return bytes(np.load(path)[_DIGEST]).hex()
        with path.open(newline="") as file:
            return next(csv.DictReader(file))[_DIGEST]
    except (OSError, ValueError, KeyError, IndexError, EOFError, StopIteration, csv.Error, zipfile.BadZipFile):
        return None
