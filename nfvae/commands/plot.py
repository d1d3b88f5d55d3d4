"""`nfvae plot`: a picture of trained runs."""

from argparse import Namespace
from pathlib import Path

import pytorch_lightning as pl

from nfvae.commands.arguments import Parser, check_file, described, offer
from nfvae.commands.pictures import PICTURES, draw
from nfvae.registry import check_number, check_seed
from nfvae.runs import EvaluationSettings, Run
from nfvae.runs.estimators import estimator_classes
from nfvae.runs.files import write_figure

_WHICH = "test images (default: the first eight; of posterior the six that the first run fits worst of a hundred)"


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
    figure = draw(options.kind, runs, images, evaluations, root, options.teacher)
    if options.output is None and not runs:
        raise ValueError(f"plot {options.kind} names no run: say where the picture goes, --output FILE.png")
    path = options.output or runs[0].folder.drawn(options.kind)
    write_figure(path, figure)
    print(path)


def _checked(options: Namespace) -> dict[str, EvaluationSettings]:
    """Return the evaluations that a picture may read, by the name of the estimator.

    Raises:
        ValueError: for a value out of range, also where the picture does not use it.
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
        raise ValueError(f"plot {options.kind} reads no images: it takes no --data.root; {others} do")
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
        "--limit", type=int, help="images of evaluations: k-curve and gain (default: all), gap (default: 100)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of evaluations and random draws (default: 0)")
    parser.add_argument("--data.root", help="folder or file of the images, where they have moved since the training")
    parser.add_argument(
        "--teacher", type=Path, help="run of a student's teacher, where it has moved since the training"
    )
    where = "file to write (default: RUN/plots/KIND.png of the first run; deformation, which is of no run, needs it)"
    parser.add_argument("--output", type=Path, help=where)
    return parser
