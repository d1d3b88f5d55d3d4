"""A comparison as one HTML page that needs nothing else."""

import base64
import datetime
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nfvae.plots import difference_figure, k_curves, learning_curves
from nfvae.plots.canvas import rendered
from nfvae.runs.comparison import Experiment, nll_difference
from nfvae.runs.files import write_whole
from nfvae.runs.folder import RunFolder
from nfvae.runs.methods import described
from nfvae.runs.tables import Table
from nfvae.version import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FIRST = ("experiment", "nll", "difference_mean", "difference_se_seeds")  # columns, as a phone shows few
_COLORS = (  # as pictures have them
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd"),
    *("#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"),
)
_STYLE = """
:root { color-scheme: light }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 110rem; margin: 0 auto; padding: 1rem 2vw; color: #222 }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; width: 100% }
th, td { padding: .35rem .6rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }
th { vertical-align: bottom; white-space: normal } abbr { text-decoration: underline dotted #999 }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: white }
.swatch { display: inline-block; width: .8em; height: .8em; margin-right: .5em; border-radius: 2px }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 32rem), 1fr)); gap: 1.5rem }
.samples { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); gap: 1rem }
img { max-width: 100%; height: auto } figure { margin: 0 } figcaption { font-weight: 600 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; font-size: .9rem }
dt { font-weight: 600 } dd { margin: 0; overflow-wrap: anywhere }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr } th, td { padding: .3rem .4rem } }
"""


def write_page(
    path: Path, experiments: Sequence[Experiment], baseline: Experiment | None, table: Table, command: str
) -> None:
    """Write table, learning curves, K-curves, paired differences and samples into one page, readable without a network.

    Args:
        path: the HTML file.
        experiments: what is compared.
        baseline: whose likelihood is taken off the others', image by image; None leaves that picture out.
        table: the experiments' numbers, in the order in which all of the page shows them.
        command: what made the page.
    """
    by_name = {each.name: each for each in experiments}
    ordered = [by_name[row["experiment"]] for row in table.rows]
    colors = {each.name: _COLORS[place % len(_COLORS)] for place, each in enumerate(ordered)}
    first = ordered[0].results[0].summary
    title = f"{first['dataset']}, {first['binarization']} binarization: {len(ordered)} posteriors compared"
    shared, telling = table.shared_and_telling()
    sections = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{first['images']:,} images of the {first['split']} set, {described(first)}; "
        "nats per image, lower is better; ± standard error over seeds where there are several, else over images; "
        "of a difference over images, with that over seeds beside it. "
        f"{html.escape(f'In every row: {shared}.' if shared else '')}</p>",
        f'<div class="wide">{_table(telling, colors)}</div>',
        f'<div class="pictures">{"".join(_pictures(ordered, baseline, colors))}</div>',
        f'<h2>Samples</h2><div class="samples">{"".join(_samples(each, colors[each.name]) for each in ordered)}</div>',
        f"<h2>Columns</h2>{_definitions({column.heading: column.meaning for column in telling.columns})}",
        f"<h2>Settings</h2>{_definitions(_settings(ordered, command))}",
    ]
    body = "\n".join(sections)
    text = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>\n'
        f"<body>{body}</body></html>\n"
    )
    write_whole(path, text)


def _table(table: Table, colors: Mapping[str, str]) -> str:
    """Lay out the table with the likelihood first, and the color of each experiment before its name."""
    columns = sorted(table.columns, key=lambda column: column.key not in _FIRST)
    head = [f'<abbr title="{html.escape(each.meaning)}">{html.escape(each.heading)}</abbr>' for each in columns]
    lines = [f"<tr><th>{'</th><th>'.join(head)}</th></tr>"]
    for row in table.rows:
        cells = [html.escape(column.cell(row)) for column in columns]
        cells[0] = _swatch(colors[row["experiment"]]) + cells[0]
        lines.append(f"<tr><td>{'</td><td>'.join(cells)}</td></tr>")
    return f"<table>{''.join(lines)}</table>"


def _swatch(color: str) -> str:
    return f'<span class="swatch" style="background: {color}"></span>'


def _pictures(experiments: Sequence[Experiment], baseline: Experiment | None, colors: Mapping[str, str]) -> list[str]:
    histories = {each.name: [result.history for result in each.results] for each in experiments}
    bounds = {each.name: _mean_bounds(each) for each in experiments if "k_curve" in each.results[0].summary}
    pictures = [
        _picture("Learning curves", "validation -ELBO over epochs, a line for each run", learning_curves(histories)),
    ]
    if bounds:
        pictures.append(_picture("Bound of k samples", "mean negative bound of k samples over k", k_curves(bounds)))
    if baseline is None or len(experiments) == 1:
        return pictures
    others = [each for each in experiments if each is not baseline]
    differences = {each.name: baseline.log_likelihood - each.log_likelihood for each in others}
    over_seeds = [nll_difference(each, baseline).se_seeds for each in others]
    figure = difference_figure(differences, baseline.name, [colors[name] for name in differences], over_seeds)
    what = f"how the NLL of each image differs from that under {baseline.name}, a distribution for each experiment"
    return [*pictures, _picture("Image by image", what, figure)]


def _mean_bounds(experiment: Experiment) -> dict[str, float]:
    """Return the bound of k samples for each k, averaged over the seeds."""
    curves = [result.summary["k_curve"] for result in experiment.results]
    return {k: sum(curve[k] for curve in curves) / len(curves) for k in curves[0]}


def _picture(title: str, what: str, figure: "Figure") -> str:
    return f"<section><h2>{html.escape(title)}</h2>{_embedded(rendered(figure, 'png'), what)}</section>"


def _samples(experiment: Experiment, color: str) -> str:
    path = RunFolder(experiment.results[0].folder).picture("samples")
    what = f"images drawn from {experiment.name}"
    picture = _embedded(path.read_bytes(), what) if path.is_file() else "no samples.png in the run's folder"
    return f"<figure><figcaption>{_swatch(color)}{html.escape(experiment.name)}</figcaption>{picture}</figure>"


def _embedded(png: bytes, what: str) -> str:
    return f'<img alt="{html.escape(what)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _settings(experiments: Sequence[Experiment], command: str) -> dict[str, str]:
    """List what is needed to make the page again: settings, seeds, command, version and date."""
    settings = [each.results[0].settings for each in experiments]
    names = dict.fromkeys(name for each in settings for name in each)
    shared = {name for name in names if all(name in each and each[name] == settings[0][name] for each in settings)}
    listed: dict[str, str] = {"all experiments": _listed({name: settings[0][name] for name in names if name in shared})}
    for each, own in zip(experiments, settings, strict=True):
        seeds = ", ".join(str(result.seed) for result in each.results)
        folders = ", ".join(str(result.folder) for result in each.results)
        told = _listed({name: value for name, value in own.items() if name not in shared})
        listed[each.name] = f"{told}; seeds {seeds}; {folders}"
    evaluation = experiments[0].results[0].summary
    listed["evaluation"] = _listed({name: evaluation.get(name) for name in ("seed", "matmul_precision")})
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return listed | {"command": command, "version": f"nfvae {__version__}", "date": now}


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items() if value not in (None, [], {}))


def _definitions(terms: Mapping[str, str]) -> str:
    items = (f"<dt>{html.escape(term)}</dt><dd>{html.escape(what)}</dd>" for term, what in terms.items() if what)
    return f"<dl>{''.join(items)}</dl>"
