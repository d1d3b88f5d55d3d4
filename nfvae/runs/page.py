"""A comparison as one HTML page that needs nothing else."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nfvae.plots import difference_figure, k_curves, learning_curves
from nfvae.runs.comparison import Experiment
from nfvae.runs.files import write_whole
from nfvae.runs.folder import RunFolder
from nfvae.runs.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
:root { color-scheme: light }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 0 auto; padding: 1rem; color: #222 }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; white-space: nowrap }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left }
th:first-child, td:first-child { position: sticky; left: 0; background: white }
img { max-width: 100%; height: auto }
.samples { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem }
figure { margin: 0 } figcaption { font-size: .9rem }
"""


def write_page(path: Path, experiments: Sequence[Experiment], baseline: Experiment | None, table: Table) -> None:
    """Write table, learning curves, K-curves, paired differences and samples into one page, readable without a network.

    Args:
        path: the HTML file.
        experiments: what is compared.
        baseline: whose likelihood is taken off the others', image by image; None leaves that picture out.
        table: the experiments' numbers.
    """
    first = experiments[0].results[0].summary
    title = f"{first['dataset']}, {first['binarization']} binarization: {len(experiments)} posteriors compared"
    sections = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{first['images']:,} images of the {first['split']} set, {first['samples']:,} importance samples an image; "
        "nats per image, lower is better; ± standard error over seeds where there are several, else over images.</p>",
        f'<div class="wide">{table.html()}</div>',
        *_pictures(experiments, baseline),
        "<h2>Samples</h2>",
        f'<div class="samples">{"".join(map(_samples, experiments))}</div>',
    ]
    body = "\n".join(sections)
    text = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>\n'
        f"<body>{body}</body></html>\n"
    )
    write_whole(path, text)


def _pictures(experiments: Sequence[Experiment], baseline: Experiment | None) -> list[str]:
    histories = {each.name: [result.history for result in each.results] for each in experiments}
    bounds = {each.name: _mean_bounds(each) for each in experiments}
    sections = ["<h2>Learning curves</h2>", _image(learning_curves(histories))]
    sections += ["<h2>Bound of k samples</h2>", _image(k_curves(bounds))]
    if baseline is None or len(experiments) == 1:
        return sections
    others = [each for each in experiments if each is not baseline]
    differences = {each.name: baseline.log_likelihood - each.log_likelihood for each in others}
    return [*sections, "<h2>Image by image</h2>", _image(difference_figure(differences, baseline.name))]


def _mean_bounds(experiment: Experiment) -> dict[str, float]:
    """Return the bound of k samples for each k, averaged over the seeds."""
    curves = [result.summary["k_curve"] for result in experiment.results]
    return {k: sum(curve[k] for curve in curves) / len(curves) for k in curves[0]}


def _image(figure: "Figure") -> str:
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return _embedded(out.getvalue())


def _samples(experiment: Experiment) -> str:
    path = RunFolder(experiment.results[0].folder).picture("samples")
    picture = _embedded(path.read_bytes()) if path.is_file() else "no samples.png in the run's folder"
    return f"<figure>{picture}<figcaption>{html.escape(experiment.name)}</figcaption></figure>"


def _embedded(png: bytes) -> str:
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
