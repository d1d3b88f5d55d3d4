"""`nfvae plot`: a picture of trained runs."""

from pathlib import Path

import pytorch_lightning as pl

from nfvae.commands.arguments import Parser
from nfvae.commands.pictures import PICTURES, draw
from nfvae.runs import Run, RunFolder


def plot_command(arguments: list[str]) -> None:
    """Draw a picture into a PNG.

    samples          images from the model
    reconstructions  test images, and what the model makes of them
    traversal        the latents that vary most, moved one at a time
    learning         the validation over epochs, of several runs
    k-curve          the bound of k samples over k, of evaluated runs
    posterior        q(z|x) against the exact posterior, of runs with two latents
    layers           the density after each layer: of a run on vectors, or of an image's posterior with two latents
    density          a density of vectors beside its data; of a student its teacher too
    deformation      what a planar and a radial layer do to a Gaussian cloud; takes no run
    """
    parser = Parser("nfvae plot", plot_command.__doc__)
    parser.add_argument("kind", metavar="KIND", help=", ".join(PICTURES))
    parser.add_runs("runs", "*")
    parser.add_argument(
        "--images", type=int, nargs="+", default=8, help="test images (default: the first eight; of posterior, six)"
    )
    parser.add_argument("--samples", type=int, default=5000, help="of the evaluations of k-curve (default: 5000)")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn at random (default: 0)")
    parser.add_argument("--output", type=Path, help="PNG to write; by default KIND.png in the folder of the first run")
    options = parser.parse_args(arguments)
    runs = [Run(path, options.trust) for path in options.runs]
    pl.seed_everything(options.seed, verbose=False)
    figure = draw(options.kind, runs, options.images, options.samples)
    path = options.output or (runs[0].folder if runs else RunFolder("")).picture(options.kind)
    figure.savefig(path)
    print(path)
