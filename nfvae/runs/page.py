"""A comparison as one self-contained HTML page."""

import base64
import datetime
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Template

from nfvae.plots import difference_figure, k_curves, learning_curves
from nfvae.plots.canvas import rendered
from nfvae.runs.comparison import Experiment, nll_difference
from nfvae.runs.evaluation import described, described_images
from nfvae.runs.files import write_whole
from nfvae.runs.folder import RunFolder
from nfvae.runs.tables import Table
from nfvae.version import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FIRST = ("experiment", "nll", "difference_mean", "difference_se_seeds")  # leading columns, because a phone shows few
_COLORS = (  # those of the pictures
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd"),
    *("#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"),
)
TEMPLATE = Path(__file__).with_suffix(".html")


def write_page(
    path: Path, experiments: Sequence[Experiment], baseline: Experiment | None, table: Table, command: str
) -> None:
    """Write table, learning curves, K-curves, paired differences and samples to one page that works offline.

    Args:
        path: the HTML file.
        experiments: experiments to compare.
        baseline: experiment to subtract from the others, image by image; None leaves that picture out.
        table: numbers of the experiments; its order is that of the whole page.
        command: command line that made the page.
    """
    by_name = {each.name: each for each in experiments}
    ordered = [by_name[row["experiment"]] for row in table.rows]
    colors = {each.name: _COLORS[place % len(_COLORS)] for place, each in enumerate(ordered)}
    first = ordered[0].results[0].summary
    shared, telling = table.shared_and_telling()
    page = Template(TEMPLATE.read_text("utf-8"), autoescape=True, trim_blocks=True, keep_trailing_newline=True).render(
        title=f"{len(ordered)} posteriors compared",
        evaluation=f"{described_images(first)}, {described(first)}",
        shared=shared,
        columns=sorted(telling.columns, key=lambda column: column.key not in _FIRST),
        rows=telling.rows,
        colors=colors,
        pictures=[(*words, _base64(rendered(figure, "png"))) for *words, figure in _figures(ordered, baseline, colors)],
        samples={each.name: _samples(each) for each in ordered},
        meanings={column.heading: column.meaning for column in telling.columns},
        settings=_settings(ordered, command),
    )
    write_whole(path, page)


def _figures(
    experiments: Sequence[Experiment], baseline: Experiment | None, colors: Mapping[str, str]
) -> Iterator[tuple[str, str, "Figure"]]:
    """Yield the heading, the caption and the figure of each picture."""
    histories = {each.name: [result.history for result in each.results] for each in experiments}
    yield "Learning curves", "validation -ELBO over epochs, a line for each run", learning_curves(histories)
    if bounds := {each.name: _mean_bounds(each) for each in experiments if "k_curve" in each.results[0].summary}:
        yield "Bound of k samples", "mean negative bound of k samples over k", k_curves(bounds)
    if baseline is None or len(experiments) == 1:
        return
    others = [each for each in experiments if each is not baseline]
    differences = {each.name: baseline.log_likelihood - each.log_likelihood for each in others}
    over_seeds = [nll_difference(each, baseline).se_seeds for each in others]
    what = f"how the NLL of each image differs from that under {baseline.name}, a distribution for each experiment"
    figure = difference_figure(differences, baseline.name, [colors[name] for name in differences], over_seeds)
    yield "Image by image", what, figure


def _mean_bounds(experiment: Experiment) -> dict[str, float]:
    """Return the bound of k samples for each k, averaged over the seeds."""
    curves = [result.summary["k_curve"] for result in experiment.results]
    return {k: sum(curve[k] for curve in curves) / len(curves) for k in curves[0]}


def _samples(experiment: Experiment) -> str | None:
    path = RunFolder(experiment.results[0].folder).picture("samples")
    return _base64(path.read_bytes()) if path.is_file() else None


def _base64(png: bytes) -> str:
    return base64.b64encode(png).decode()


def _settings(experiments: Sequence[Experiment], command: str) -> dict[str, str]:
    """List what reproduces the page: settings, seeds, command, version and date."""
    settings = [each.results[0].settings for each in experiments]
    names = dict.fromkeys(name for each in settings for name in each)
    shared = {name for name in names if all(name in each and each[name] == settings[0][name] for each in settings)}
    listed: dict[str, str] = {"all experiments": _listed({name: settings[0][name] for name in names if name in shared})}
    for each, own in zip(experiments, settings, strict=True):
        seeds = ", ".join(str(result.seed) for result in each.results)
        folders = ", ".join(str(result.folder) for result in each.results)
        own_settings = _listed({name: value for name, value in own.items() if name not in shared})
        listed[each.name] = f"{own_settings}; seeds {seeds}; {folders}"
    evaluation = experiments[0].results[0].summary
    listed["evaluation"] = _listed({name: evaluation.get(name) for name in ("seed", "matmul_precision")})
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return listed | {"command": command, "version": f"nfvae {__version__}", "date": now}


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items() if value not in (None, [], {}))
