"""Pictures of trained runs by name. Adding one is a file beside this one and a line in `PICTURES`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nfvae.commands.pictures.base import Given, Images, Picture
from nfvae.registry import Registry
from nfvae.runs import EvaluationSettings, Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PICTURES", "Given", "Picture", "draw"]

PICTURES = Registry(
    "picture",
    Picture,  # type: ignore[type-abstract]
    {
        "samples": "nfvae.commands.pictures.images:Samples",
        "reconstructions": "nfvae.commands.pictures.images:Reconstructions",
        "traversal": "nfvae.commands.pictures.images:Traversal",
        "interpolation": "nfvae.commands.pictures.images:Interpolation",
        "learning": "nfvae.commands.pictures.learning:Learning",
        "k-curve": "nfvae.commands.pictures.evaluations:KCurve",
        "gap": "nfvae.commands.pictures.evaluations:Gaps",
        "gain": "nfvae.commands.pictures.evaluations:Gain",
        "posterior": "nfvae.commands.pictures.latents:Posteriors",
        "layers": "nfvae.commands.pictures.latents:Layers",
        "density": "nfvae.commands.pictures.densities:Density",
        "uniform": "nfvae.commands.pictures.densities:Uniform",
        "gallery": "nfvae.commands.pictures.densities:Gallery",
        "deformation": "nfvae.commands.pictures.densities:Deformation",
    },
)


def draw(
    name: str,
    runs: Sequence[Run],
    images: Images = 8,
    evaluations: Mapping[str, EvaluationSettings] = {},
    root: str | None = None,
    teacher: Path | str | None = None,
) -> "Figure":
    """Draw a picture.

    Args:
        name: in `PICTURES`, or "package.module:Class" of your own.
        runs: what it is drawn of.
        images: which test images, or how many of the first ones, as far as there are.
        evaluations: which ones are read, by the name of the estimator.
        root: folder or file of the images, where they are not where they were in training.
        teacher: run of the teacher of a student, where it is not where it was in training.

    Raises:
        ValueError: for an unknown name, or runs or images that the picture cannot be drawn of.
        FileNotFoundError: if an evaluation or the given teacher is not there.
    """
    figure = PICTURES.make(name).draw(Given(runs, images, evaluations, root, teacher))
    if not hasattr(figure, "savefig"):
        raise ValueError(f"picture {name} gives {type(figure).__name__}; expected a matplotlib Figure")
    return figure
