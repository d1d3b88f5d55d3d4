"""Pictures: that each is drawn, and that what they show is right."""

import contextlib
import json
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from nfvae.__main__ import main
from nfvae.commands.pictures import PICTURES, Given
from nfvae.flows import FlowDensity, layers_of, make_flow
from nfvae.plots import gap_bars, k_curves, layers_figure, learning_curves, posterior_contours, posterior_misfit
from nfvae.plots.canvas import new_figure, rendered, square_grid
from nfvae.plots.flows import _mass_levels, _posteriors
from nfvae.runs import Run
from tests.conftest import QUICKSTART
from tests.helpers.flows import ALL, random_flow, small_options
from tests.helpers.models import binary, constant_vae, small_vae
from tests.helpers.sweeps import exhaustive

QUICK = ["--trainer.max_epochs", 1, "--trainer.enable_model_summary", "false", "--trainer.enable_progress_bar", "false"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with two latents, evaluated, one with forty, and a density of vectors: once for all tests here."""
    folder = tmp_path_factory.mktemp("trained")
    flat = ["--model.latent", 2, "--model.context", 4, "--model.encoder_options.hidden", "[16]", "--name", "flat"]
    wide = ["--model.latent", 40, "--model.flow", "none", "--model.depth", 1, "--name", "wide"]
    moons = ["--task", "density", "--name", "moons", "--data.dataset_options.count", 500, "--model.depth", 2]
    narrow = {name: ["--model.flow_options", json.dumps(small_options(name))] for name in ("iaf", "maf")}
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr("nfvae.estimators.gaps._MOST_ROUNDS", 1)
        for words in (
            ["fit", "-c", QUICKSTART, *QUICK, *flat, *narrow["iaf"]],
            ["evaluate", "runs/flat", "--samples", 20, "--estimator", "importance", "annealed", "--temperatures", 5],
            ["gap", "runs/flat", "--images", 4, "--budget", "small"],
            ["fit", "-c", QUICKSTART, *QUICK, *wide],
            ["evaluate", "runs/wide", "--samples", 20, "--estimator", "importance", "annealed", "--temperatures", 5],
            ["fit", *QUICK, *moons, *narrow["maf"]],
        ):
            assert main([str(word) for word in words]) == 0
    return folder


def is_cut(path):
    """Whether something reaches the very edge of a picture."""
    pixels = plt.imread(path)[..., :3]
    return min(edge.min() for edge in (pixels[:4], pixels[-4:], pixels[:, :4], pixels[:, -4:])) < 1


@pytest.fixture
def runs(workdir, trained):
    shutil.copytree(trained / "runs", "runs")


def test_every_picture_is_drawn(runs, cli):
    for kind in PICTURES:
        if kind == "energy":  # of runs of another task: tests/training/test_energy.py
            continue
        of_vectors = kind in ("density", "uniform", "gallery")
        folders = [] if kind == "deformation" else ["runs/moons" if of_vectors else "runs/flat"]
        folders += ["runs/wide"] if kind == "gain" else []
        output = [] if folders else ["--output", "drawn/picture.png"]
        asked = ["--samples", 20, "--temperatures", 5] if kind != "gap" else ["--limit", 4, "--budget", "small"]
        code, out, error = cli("plot", kind, *folders, *asked, "--images", 0, 3, *output)
        assert code == 0, (kind, error)
        assert Path(out.strip()).stat().st_size > 3_000, kind
        assert not is_cut(Path(out.strip())), kind
    for kind in ("posterior", "learning", "k-curve"):
        assert cli("plot", kind, "runs/flat", "runs/flat", "--samples", 20)[0] == 0
    code, out, error = cli("plot", "layers", "runs/moons", "--output", "moons.png")
    assert (code, out) == (0, "moons.png\n"), error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["smaples", "runs/flat"], "unknown picture 'smaples'; known pictures: samples, "),
        (["samples"], "this picture takes one run; got 0"),
        (["learning"], "this picture takes runs; got none"),
        (["k-curve"], "this picture takes runs; got none"),
        (
            ["gain", "runs/flat", "--samples", 20, "--temperatures", 5],
            "this picture takes at least two runs",
        ),
        (["gain", "runs/flat", "runs/wide"], "run runs/flat has no evaluation-test-importance-5000: nfvae evaluate"),
        (["k-curve", "runs/flat", "--samples", 20, "--seed", 3], "nfvae evaluate runs/flat --samples 20 --seed 3"),
        (["learning", "runs/flat", "runs/moons"], "run runs/moons has no val/elbo in its history"),
        (["deformation", "runs/flat"], "this picture takes no run"),
        (["layers", "runs/wide"], "layers are drawn in two dimensions (--model.latent 2); this density has 40"),
        (["deformation"], "plot deformation names no run, so it needs --output FILE.png"),
        (["samples", "runs/flat", "--output", "."], "--output should name a file that ends in .png, .pdf, .svg"),
        (["layers", "runs/flat", "--output", "x.bmp"], "--output should name a file that ends in .png, .pdf, .svg"),
        (["reconstructions", "runs/flat", "--images", "999"], "test images are 0 ... 255; got [999]"),
        (["k-curve", "runs/flat"], "run runs/flat has no evaluation-test-importance-5000: nfvae evaluate runs/flat"),
        (["samples", "runs/flat", "--images", "3", "-1"], "--images must be at least 0; got -1"),
        (["samples", "runs/flat", "--samples", "0"], "samples must be at least 1; got 0"),
        (["samples", "runs/flat", "--chains", "0"], "chains must be at least 1; got 0"),
        (["learning", "runs/flat", "--limit", "0"], "limit must be at least 1; got 0"),
        (["samples", "runs/flat", "--seed", "-1"], "--seed must be at least 0; got -1"),
        (["samples", "runs/flat", "--proposal", "x"], "unknown proposal 'x'"),
        (
            ["samples", "runs/flat", "--data.root", "gone"],
            "--data.root should name a file or a folder; there is no 'gone'",
        ),
        (["samples", "runs/flat", "--teacher", "gone"], "--teacher should name a file or a folder; there is no 'gone'"),
        (["density", "runs/moons", "--teacher", "runs/flat"], "run runs/moons is no student"),
        (["traversal", "runs/moons"], "best.ckpt holds a density of vectors; expected a VAE"),
        (["energy", "runs/moons"], "runs/moons was fitted to data, not to a log-density"),
    ],
)
def test_mistakes_get_one_line(arguments, message, runs, cli):
    code, _, error = cli("plot", *arguments)
    assert code == 2
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", ALL)
def test_the_layers_one_after_the_other_are_the_flow(name):
    bijection, z = random_flow(name, 2, depth=3)(), torch.randn(5, 2, dtype=torch.float64)
    layers, point = layers_of(bijection), z
    of_a_layer = {"none": 0, "glow": 3, "batchnorm": 2, "ffjord": 2}
    assert len(layers) == {"zuko": 1, "chain": 3 + 2}.get(name, 3 * of_a_layer.get(name, 1))
    for layer in layers:
        point = layer(point)
    torch.testing.assert_close(point, bijection(z))


def test_what_a_run_gains_adds_up(runs, cli, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "nfvae.commands.pictures.evaluations.gain_bars", lambda gains, *_: drawn.append(gains) or new_figure(1, 1)
    )
    assert cli("plot", "gain", "runs/wide", "runs/flat", "--samples", 20, "--temperatures", 5)[0] == 0
    (gains,) = drawn
    model, bound, estimator = gains["iaf-4"].tolist()
    (wide, flat), (wide_annealed, flat_annealed) = (
        [json.loads(Path(f"runs/{run}/evaluation-test-{name}.json").read_text()) for run in ("wide", "flat")]
        for name in ("importance-20", "annealed-4x5")
    )
    assert model == pytest.approx(wide_annealed["nll"] - flat_annealed["nll"], abs=1e-4)
    assert model + estimator == pytest.approx(wide["nll"] - flat["nll"], abs=1e-4)
    assert model + bound == pytest.approx(flat_annealed["elbo"] - wide_annealed["elbo"], abs=1e-4)


def test_contours_are_of_densities():
    model, x = small_vae("planar", features=2), binary(1)[0]
    grid, extent = square_grid(torch.full((2,), -8.0), torch.full((2,), 8.0), 400)
    assert extent == [-8, 8, -8, 8]
    cell = (16 / 399) ** 2
    with torch.no_grad():
        exact, approximate = _posteriors(model, x, grid)
        joint = (model.decode(grid).log_prob(x) + model.prior().log_prob(grid)).exp()
    torch.testing.assert_close(exact, joint / joint.sum())
    assert (approximate.sum() * cell).item() == pytest.approx(1, abs=0.02)


def test_contours_take_two_latents():
    with pytest.raises(ValueError, match="three has 3 latents; contours are drawn of two"):
        posterior_contours({"three": small_vae(features=3)}, binary(2), (2, 4))


def test_contours_enclose_the_mass_they_claim():
    grid, _ = square_grid(torch.full((2,), -6.0), torch.full((2,), 6.0), 300)
    density = torch.exp(-grid.square().sum(1) / 2)
    outer, inner = _mass_levels(density, (0.9, 0.5))
    assert outer < inner
    for level, mass in ((outer, 0.9), (inner, 0.5)):
        assert (density[density >= level].sum() / density.sum()).item() == pytest.approx(mass, abs=1e-3)


def test_misfit_is_the_divergence_from_the_exact_posterior():
    """Under a constant decoder the exact posterior is the prior, and that of a Gaussian is known."""
    vae, x = constant_vae("none"), binary(3)
    with torch.no_grad():
        vae.posterior.encoder.head.bias[2:4] = -0.5
        loc, log_scale, _ = vae.posterior.encoder(x)
        misfit = posterior_misfit(vae, x)
    exact = (loc.square() + (2 * log_scale).exp() - 1 - 2 * log_scale).sum(1) / 2
    torch.testing.assert_close(misfit, exact, rtol=1e-2, atol=1e-2)


@exhaustive
def test_the_posterior_picture_chooses_where_the_first_run_fits_worst(runs, cli, monkeypatch):
    shown = []
    monkeypatch.setattr(
        "nfvae.commands.pictures.latents.posterior_contours", lambda m, x, shape, t: shown.append(t) or new_figure(1, 1)
    )
    assert cli("plot", "posterior", "runs/flat")[0] == 0
    run = Run("runs/flat")
    with torch.no_grad():
        worst = posterior_misfit(run.vae(), run.data().rows("test")[:100].float()).argsort(descending=True)[:6]
    assert shown == [[f"test image {index}" for index in worst.tolist()]]


def test_data_that_have_moved_are_named(workdir, cli):
    """The run's own root holds no data any more; others of another shape are refused."""
    gray = np.random.default_rng(0).random((60, 8, 8))
    np.savez("letters.npz", train=gray[:40], val=gray[40:50], test=gray[50:])
    small = ["--model.latent", 2, "--model.flow", "none", "--model.depth", 1, "--name", "letters"]
    assert (
        cli("fit", "-c", QUICKSTART, *QUICK, *small, "--data.dataset", "arrays", "--data.root", "letters.npz")[0] == 0
    )
    Path("letters.npz").rename("moved.npz")
    np.savez("wide.npz", train=gray[:, :, :4], val=gray[:, :, :4], test=gray[:, :, :4])
    for kind in ("reconstructions", "interpolation", "posterior", "traversal", "layers"):
        assert cli("plot", kind, "runs/letters")[0] == 2
        code, _, error = cli("plot", kind, "runs/letters", "--data.root", "moved.npz", "--images", 0, 3)
        assert code == 0, error
    code, _, error = cli("plot", "layers", "runs/letters", "--data.root", "wide.npz")
    assert (code, error.count("\n")) == (2, 1)
    assert "models images of shape [8, 8]; those of arrays have [8, 4]" in error


def test_a_student_is_drawn_with_its_teacher_where_that_is_known(runs, cli, monkeypatch):
    student = [
        "--task",
        "distill_density",
        "--model.teacher",
        "runs/moons",
        "--name",
        "student",
        "--data.dataset_options.count",
        500,
    ]
    assert cli("fit", *QUICK, *student, "--model.flow", "planar", "--model.depth", 2)[0] == 0
    shown = []
    monkeypatch.setattr(
        "nfvae.commands.pictures.densities.density_figure",
        lambda data, densities, **_: shown.append([*densities]) or new_figure(1, 1),
    )
    assert cli("plot", "density", "runs/student")[0] == 0
    Path("runs/moons").rename("moved")
    code, out, error = cli("plot", "density", "runs/student")
    assert (code, out) == (0, "runs/student/plots/density.png\n")
    assert error == "drawn without the teacher: there is no run runs/moons; --teacher PATH names it\n"
    assert cli("plot", "density", "runs/student", "--teacher", "moved")[0] == 0
    assert shown == [["teacher", "student"], ["student"], ["teacher", "student"]]
    assert cli("plot", "uniform", "runs/student")[0] == 0
    code, _, error = cli("plot", "density", "runs/student", "--teacher", "runs/flat")
    assert (code, error.count("\n")) == (2, 1)
    assert "has shape [8, 8]; the student runs/student [2]" in error


def test_runs_are_named_by_their_experiments_or_else_by_the_ends_of_their_paths(runs):
    shutil.copytree("runs/flat", "other/flat")
    paths = ["runs/flat", "runs/wide", "runs/flat"]
    assert [*Given([Run(path) for path in paths]).named()] == ["iaf-4", "none-1"]
    paths.append("runs/flat/checkpoints/last.ckpt")
    assert [*Given([Run(path) for path in paths]).named()] == ["flat", "wide", "flat (last)"]
    assert [*Given([Run(path) for path in ("runs/flat", "other/flat")]).named()] == ["runs/flat", "other/flat"]


def test_lines_differ_without_their_colors():
    names = [f"run {place}" for place in range(20)]
    history = [{"epoch": epoch, "seconds": 100.0, "val/elbo": -5.0 + epoch} for epoch in range(60)]
    for figure in (
        learning_curves({name: [history] for name in names}),
        k_curves({name: {"1": -4.0, "30": -3.0} for name in names}),
    ):
        lines = figure.axes[0].lines
        assert len({(line.get_linestyle(), line.get_marker()) for line in lines}) == len(lines) == 20


@pytest.mark.parametrize(("seconds", "unit", "last"), [(100.0, "minutes", 5.0), (0.5, "seconds", 1.5)])
def test_short_trainings_are_timed_in_seconds(seconds, unit, last):
    history = [{"epoch": epoch, "seconds": seconds, "val/elbo": -5.0 + epoch} for epoch in range(3)]
    _, by_time = learning_curves({"run": [history]}).axes
    assert by_time.get_xlabel().startswith(unit)
    assert by_time.lines[0].get_xdata()[-1] == pytest.approx(last)


def test_the_parts_of_a_gap_are_labeled_beside_the_bars():
    """The narrowest part has its label, in black on white and within the axes, as the widest one has."""
    part = {"nll": 80.0, "approximation_se": 0.1, "amortization_se": None}
    figure = gap_bars(
        {
            "narrow": part | {"approximation": 0.01, "amortization": 2.0},
            "wide": part | {"approximation": 3.0, "amortization": 0.0},
        }
    )
    rendered(figure, "png")
    (axes,) = figure.axes
    bars = [bar.get_window_extent() for bar in axes.patches]
    assert {text.get_text().strip() for text in axes.texts} == {"0.01 ± 0.10", "2.00", "3.00 ± 0.10", "0.00"}
    for text in axes.texts:
        box = text.get_window_extent()
        assert text.get_color() == "black"
        assert axes.bbox.x0 <= box.x0
        assert box.x1 <= axes.bbox.x1
        assert not any(bar.width > 0 and box.x0 < bar.x1 and bar.x0 < box.x1 and bar.overlaps(box) for bar in bars)


def test_a_long_title_is_whole(workdir):
    density = FlowDensity(make_flow("planar", features=2, depth=4))()
    figure = layers_figure(density, side=20, title="a title that goes on and on " * 12)
    Path("long.png").write_bytes(rendered(figure, "png"))
    assert not is_cut("long.png")
    assert max(map(len, figure.get_suptitle().splitlines())) < 100
    shown = [axes for axes in figure.axes if axes.axison]
    assert (len(shown), len(figure.axes)) == (5, 6), "three panels above two"
    assert sum(axes.get_xlabel() == "$z_1$" for axes in shown) == 3
