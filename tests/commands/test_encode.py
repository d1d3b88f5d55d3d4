"""A trained model on images of one's own."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nfvae import Run, annealed_log_likelihood
from nfvae.data.arrays import read_images

RUN = "runs/digits-iaf-4-seed0"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run."""
    from nfvae.__main__ import main
    from tests.conftest import QUICKSTART

    folder = tmp_path_factory.mktemp("trained")
    arguments = [
        "fit",
        "-c",
        QUICKSTART,
        "--trainer.max_epochs",
        "1",
        "--trainer.default_root_dir",
        str(folder / "runs"),
    ]
    assert main(arguments) == 0
    return folder


@pytest.fixture
def run(trained, workdir):
    (workdir / "runs").symlink_to(trained / "runs")
    images = torch.randint(0, 2, (7, 8, 8), generator=torch.Generator().manual_seed(0))
    np.save("own.npy", images.numpy())
    np.save("gray.npy", np.random.default_rng(0).random((600, 8, 8)))
    return Run(RUN)


def read(path):
    return list(csv.DictReader(Path(path).read_text().splitlines()))


def test_images_are_encoded(run, cli):
    code, out, error = cli("encode", RUN, "--input", "own.npy", "--samples", 4)
    assert code == 0, error
    assert out.strip() == f"{RUN}/encoded-own.npz"
    found = {name: torch.from_numpy(value) for name, value in np.load(out.strip()).items()}
    posterior = run.vae().posterior(read_images(Path("own.npy")).flatten(1).float())
    assert found["z"].shape == (4, 7, 16)
    torch.testing.assert_close(found["log_q"], posterior.log_prob(found["z"]), rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(found["mean"], found["z"].mean(0))
    torch.testing.assert_close(found["loc"], posterior.base.loc.detach())
    torch.testing.assert_close(found["log_scale"], posterior.base.scale.detach().log())
    assert cli("encode", RUN, "--input", "gray.npy", "--output", "x.npz")[0] == 0
    assert np.load("x.npz")["z"].shape == (10, 600, 16)


@pytest.mark.parametrize("words", [[], ["--estimator", "importance", "--samples", 50]])
def test_images_are_scored(words, run, cli):
    code, out, error = cli("score", RUN, "--input", "own.npy", *words)
    assert code == 0, error
    rows = read(out.strip())
    assert [int(row["index"]) for row in rows] == list(range(7))
    assert all(float(row["standard_error"]) > 0 for row in rows)
    if not words:
        exact = annealed_log_likelihood(run.vae(), read_images(Path("own.npy")).flatten(1).float(), 4, 50)
        assert [float(row["log_likelihood"]) for row in rows] == pytest.approx(exact.log_likelihood.tolist())


def test_noise_is_unlike_the_training_images(run, cli):
    digits = run.images().images("test")[:50].view(-1, 8, 8)
    np.save("digits.npy", digits.numpy())
    np.save("noise.npy", digits.flatten(1)[:, torch.randperm(64)].view(-1, 8, 8).numpy())
    means = {}
    for name in ("digits", "noise"):
        assert cli("score", RUN, "--input", f"{name}.npy")[0] == 0
        means[name] = np.mean([float(row["log_likelihood"]) for row in read(f"{RUN}/scores-{name}.csv")])
    assert means["digits"] > means["noise"] + 5


def test_samples_go_where_they_are_wanted(run, cli):
    assert cli("sample", RUN, "--count", 5, "--output", "many")[0] == 0
    assert [path.name for path in sorted(Path("many").iterdir())] == [f"{place:05}.png" for place in range(5)]
    assert cli("sample", RUN, "--count", 5, "--output", "many.npz")[0] == 0
    images = np.load("many.npz")["images"]
    assert images.shape == (5, 8, 8)
    np.testing.assert_allclose(np.array(Image.open("many/00002.png")) / 255, images[2], atol=0.003)
    assert cli("sample", RUN, "--count", 5, "--temperature", 1e-6, "--output", "cold.npz")[0] == 0
    assert np.load("cold.npz")["images"].std(0).max() < 1e-3 < images.std(0).max()


def test_an_interpolation_is_drawn(run, cli):
    assert cli("plot", "interpolation", RUN, "--images", 0, 5)[0] == 0
    assert Path(RUN, "plots/interpolation.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["encode", RUN, "--input", "none.npy"], "there is no file none.npy; expected an .npz, .npy or .pt"),
        (["encode", RUN, "--input", "wide.npy"], r"wide.npy has images of \[8, 9\] pixels; the run's have \[8, 8\]"),
        (["score", RUN, "--input", "two.npz"], "two.npz should hold one array; got a, b"),
        (["score", RUN, "--input", "own.npy", "--estimator", "guess"], "unknown estimator 'guess'"),
        (["encode", RUN, "--input", "own.npy", "--samples", 0], "--samples must be at least 1; got 0"),
        (["encode", RUN, "--input", "own.npy", "--output", "x.csv"], "--output should name a file that ends in .npz"),
        (["encode", RUN], "the following arguments are required: --input"),
        (["plot", "interpolation", RUN, "--images", 1, 2, 3], "an interpolation goes between pairs of images; got 3"),
        (["sample", RUN, "--temperature", -1], "temperature must be above 0; got -1.0"),
    ],
)
def test_mistakes_get_one_line(words, message, run, cli):
    np.save("wide.npy", np.zeros((2, 8, 9)))
    np.savez("two.npz", a=np.zeros((2, 8, 8)), b=np.zeros((2, 8, 8)))
    code, _, error = cli(*words)
    assert code == 2
    (line,) = error.strip().splitlines()[-1:]
    assert re.search(message, line), line
