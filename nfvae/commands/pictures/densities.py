"""Pictures of densities of vectors, and their summary."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from typing_extensions import override

from nfvae.commands.pictures.base import Given, Picture, heading
from nfvae.commands.pictures.images import sample_figure
from nfvae.flows import Bijection, FlowDistribution
from nfvae.flows.planar import Planar
from nfvae.flows.radial import Radial
from nfvae.plots import deformation_figure, density_figure, density_gallery, energies_figure, uniform_figure
from nfvae.runs import Run, density_table
from nfvae.runs.energies import read_target

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_SAMPLES = 2_000


class Density(Picture):
    """A density of vectors beside its data, and the teacher of a student; of many columns, their histograms."""

    help = "a density of vectors beside its data, and the teacher of a student"

    @override
    def draw(self, given: Given) -> "Figure":
        run = given.only()
        if run.spec.size > 2 or run.spec.conditions:
            return sample_figure(run, _SAMPLES)
        return density_figure(_vectors(run), _densities(given), title=heading(run, "density"))


class Energy(Picture):
    """Log-densities of the plane beside the flows that were fitted to them, one row per log-density."""

    help = "log-densities of the plane beside the flows fitted to them (task energy), as in arXiv 1505.05770, figure 3"

    @override
    def draw(self, given: Given) -> "Figure":
        targets, densities = {}, dict[str, dict[str, FlowDistribution]]()
        order = sorted(given.named().values(), key=lambda run: (run.settings.get("flow"), run.settings.get("depth")))
        for run in order:
            log_density = read_target(run)
            target, name = str(run.settings["target"]), f"{run.settings['flow']}, {run.settings['depth']}"
            target = target.rpartition(":")[2]
            targets[target] = log_density
            if run.spec.size != 2:
                raise ValueError(f"log-densities of two numbers are drawn; {run.folder.path} has {run.spec.size}")
            densities.setdefault(target, {})[name] = run.density()()
        return energies_figure(targets, densities, "unnormalized densities, and flows (layers) fitted to them")


class Uniform(Picture):
    """Data mapped to a uniform distribution by their density, and back; single numbers also to a Beta(5, 5)."""

    help = "data mapped to a uniform distribution and back by a density"

    @override
    def draw(self, given: Given) -> "Figure":
        run = given.only()
        return uniform_figure(_vectors(run), run.density()(), heading(run, "data made uniform by the density"))


class Gallery(Picture):
    """Densities of the plane: one row per flow, one column per data set."""

    help = "densities of the plane: one row per flow, one column per data set"

    @override
    def draw(self, given: Given) -> "Figure":
        densities: dict[str, dict[str, FlowDistribution]] = {}
        runs = given.named()
        data = {run.data_settings["dataset"]: _vectors(run) for run in runs.values()}
        for name, run in runs.items():
            dataset, flow = run.data_settings["dataset"], f"{run.settings['flow']}-{run.settings['depth']}"
            if (features := data[dataset].shape[1]) != 2:
                raise ValueError(f"a gallery shows densities of two numbers; {run.folder.path} has one of {features}")
            row = flow if dataset not in densities.get(flow, {}) else name  # else the run gets its own row
            densities.setdefault(row, {})[dataset] = run.density()()
        return density_gallery(densities, data)


class Deformation(Picture):
    """The effect of planar and radial layers on a Gaussian cloud."""

    help = "how planar and radial layers move a Gaussian cloud; takes no run"

    @override
    def draw(self, given: Given) -> "Figure":
        if given.runs:
            raise ValueError("this picture takes no run")
        direction, zero = torch.tensor([1.0, 1.0]), torch.zeros(())
        maps: dict[str, Bijection] = {
            f"planar, |u| = {size:g}": Planar.from_unconstrained(u=size * direction / 2**0.5, w=2 * direction, b=zero)
            for size in (0.5, 1, 2, 4)
        }
        beside = torch.tensor([0.5, 0.0])  # beside the center of the cloud
        for beta in (-0.9, 1, 2, 4):
            maps[f"radial, β = {beta:g}"] = Radial(beside, torch.tensor(1.0), torch.tensor(1.0 + beta))
        return deformation_figure(maps, torch.randn(800, 2))


def density_summary(run: Run, teacher: Path | str | None = None) -> str:
    """Tabulate a density's fit to its test vectors and its sampling time; for a student also its teacher's."""
    if run.spec.conditions:
        return f"nfvae evaluate {run.folder.path} gives the NLL of the test vectors"
    return density_table(_densities(Given([run], teacher=teacher)), _vectors(run)).text()


def _vectors(run: Run) -> Tensor:
    run.check_kind("density")
    return run.data().rows("test")


def _densities(given: Given) -> dict[str, FlowDistribution]:
    """Return the density of a run by its role; for a student also its teacher's, if that can be found."""
    run = given.only()
    model, trained_by = run.density(), run.settings.get("teacher")
    if not trained_by:
        if given.teacher is not None:
            raise ValueError(f"run {run.folder.path} is no student; --teacher names the teacher of one")
        return {"model": model()}
    try:
        teacher = Run(trained_by if given.teacher is None else given.teacher)
    except FileNotFoundError as error:
        if given.teacher is not None:
            raise
        print(f"drawn without the teacher: {error}; --teacher PATH names it", file=sys.stderr)
        return {"student": model()}
    if teacher.spec.shape != run.spec.shape:
        raise ValueError(
            f"the teacher {teacher.folder.path} has shape {list(teacher.spec.shape)}; "
            f"the student {run.folder.path} {list(run.spec.shape)}"
        )
    return {"teacher": teacher.density()(), "student": model()}
