"""`nfvae plot`: a picture of trained runs."""

from argparse import Namespace
from pathlib import Path

import pytorch_lightning as pl

from nfvae.commands.arguments import Parser, check_file, described, offer
from nfvae.commands.pictures import PICTURES, draw
from nfvae.plots import PROJECTIONS
from nfvae.registry import check_number, check_seed
from nfvae.runs import EvaluationSettings, Run
from nfvae.runs.estimators import estimator_classes
from nfvae.runs.files import write_figure

_WHICH = "indices of test images, or their number (default: 8; for posterior, the six of 100 with the poorest fit)"


def plot_command(arguments: list[str]) -> None:
    """Draw a picture.

    {pictures}
    """
    options = plot_parser().parse_args(arguments)
    if options.output is not None:
        check_file("--output", options.output)
    evaluations, root, images = _checked(options), getattr(options, "data.root"), options.images
    runs = [Run(path) for path in options.runs]
    pl.seed_everything(options.seed, verbose=False)
    figure = draw(options.kind, runs, images, evaluations, root, options.teacher, options.projection)
    if options.output is None and not runs:
        raise ValueError(f"plot {options.kind} names no run, so it needs --output FILE.png")
    path = options.output or runs[0].folder.drawn(options.kind)
    write_figure(path, figure)
    print(path)


def _checked(options: Namespace) -> dict[str, EvaluationSettings]:
    """Return the evaluations that a picture may read, by estimator name.

    Raises:
        ValueError: for a value out of range, even if the picture does not use it.
    """
    check_seed("--seed", options.seed)
    estimators = {name: kind.of(vars(options)) for name, kind in options.estimators.items()}
    given = {"limit": options.limit, "seed": options.seed}
    evaluations = {name: EvaluationSettings(estimator, **given) for name, estimator in estimators.items()}
    for evaluation in evaluations.values():
        evaluation.check()
    for index in [] if isinstance(options.images, int) else options.images:
        check_number("--images", index, least=0)
    for name in ("data.root", "teacher"):
        if (path := getattr(options, name)) is not None and not Path(path).exists():
            raise ValueError(f"--{name} should name a file or a folder; there is no {str(path)!r}")
    if getattr(options, "data.root") is not None and not PICTURES.load(options.kind).reads_images:
        others = ", ".join(name for name in PICTURES if PICTURES.load(name).reads_images)
        raise ValueError(f"plot {options.kind} reads no images, so it takes no --data.root; {others} do")
    return evaluations


def plot_parser() -> Parser:
    """Return the parser of the command."""
    pictures = described({name: PICTURES.load(name) for name in PICTURES})
    parser = Parser("nfvae plot", str(plot_command.__doc__).replace("{pictures}", pictures))
    offer(parser.add_argument("kind", metavar="KIND", help=", ".join(PICTURES)), PICTURES)
    parser.add_runs("runs", "*")
    parser.add_argument("--images", type=int, nargs="+", default=8, help=_WHICH)
    parser.add_estimators(estimator_classes("plot"))
    parser.add_argument(
        "--limit", type=int, help="draw the evaluation of the first N images (default: all; for gap: 100)"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.add_argument("--data.root", help="folder or file of the images, if they have moved since training")
    parser.add_argument("--teacher", type=Path, help="run of the student's teacher, if it has moved since training")
    text = "projection of latents of more than two coordinates: pca or tsne (default: pca)"
    parser.add_argument("--projection", choices=PROJECTIONS, default="pca", help=text)
    where = "file to write (default: plots/KIND.png in the folder of the first run; required for deformation)"
    parser.add_argument("--output", type=Path, help=where)
    return parser
