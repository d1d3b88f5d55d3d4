"""Pictures of trained runs by name. To add one, write a file beside this one and add a line to `PICTURES`."""

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
        "latents": "nfvae.commands.pictures.latents:Latents",
        "layers": "nfvae.commands.pictures.latents:Layers",
        "density": "nfvae.commands.pictures.densities:Density",
        "energy": "nfvae.commands.pictures.densities:Energy",
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
    projection: str = "pca",
) -> "Figure":
    """Draw a picture.

    Args:
        name: a name in `PICTURES`, or your own class as "package.module:Class".
        runs: runs to draw.
        images: indices of test images, or the number of first ones, as far as available.
        evaluations: settings of the evaluations to read, by estimator name.
        root: folder or file of the images, if they have moved since training.
        teacher: run of a student's teacher, if it has moved since training.
        projection: projection of latents of more than two coordinates: `pca` or `tsne`.

    Raises:
        ValueError: for an unknown name, or runs or images that do not suit the picture.
        FileNotFoundError: if an evaluation or the given teacher does not exist.
    """
    figure = PICTURES.make(name).draw(Given(runs, images, evaluations, root, teacher, projection))
    if not hasattr(figure, "savefig"):
        raise ValueError(f"picture {name} gives {type(figure).__name__}; expected a matplotlib Figure")
    return figure
