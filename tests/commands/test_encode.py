"""A trained model on images of one's own."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nfvae import DataModule, Run, annealed_log_likelihood
from nfvae.data.inputs import read_rows
from nfvae.data.scikit import Digits
from nfvae.runs.digests import content_digest

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
    posterior = run.vae().posterior(read_rows(Path("own.npy"), run.spec, run.data_settings))
    assert found["z"].shape == (4, 7, 16)
    torch.testing.assert_close(found["log_q"], posterior.log_prob(found["z"]), rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(found["mean"], found["z"].mean(0))
    torch.testing.assert_close(found["loc"], posterior.base.loc.detach())
    torch.testing.assert_close(found["log_scale"], posterior.base.scale.detach().log())
    assert cli("encode", RUN, "--input", "gray.npy", "--output", "x.npz")[0] == 0
    assert np.load("x.npz")["z"].shape == (10, 600, 16)


@pytest.mark.parametrize("binarization", ["threshold", "dynamic"])
def test_gray_images_are_binarized_as_in_the_run(binarization, run, cli, monkeypatch, caplog):
    gray = Digits().read(Path(), download=False).test.view(-1, 8, 8)
    np.save("digits.npy", gray)
    settings = Run(RUN).data_settings | {"binarization": binarization}
    monkeypatch.setattr(Run, "data_settings", settings)
    with caplog.at_level("INFO"):
        assert cli("score", RUN, "--input", "digits.npy", "--estimator", "importance", "--samples", 20)[0] == 0
    how = {"threshold": "1 above 127, else 0", "dynamic": "drawn once from a fixed seed"}[binarization]
    assert f"digits.npy: gray pixels are {how} (binarization {binarization})" in caplog.text
    (scored,) = {row["input_sha256"] for row in read(f"{RUN}/scores-digits.csv")}
    Path(RUN, "scores-digits.csv").unlink()
    expected = DataModule("digits", binarization).rows("test")  # as `nfvae evaluate` has them
    assert scored == content_digest({"images": expected})
    caplog.clear()
    np.save("binary.npy", gray > 127)
    assert cli("encode", RUN, "--input", "binary.npy", "--output", "x.npz")[0] == 0
    assert not caplog.text


def test_results_of_other_images_are_not_replaced(run, cli):
    Path("p").mkdir()
    np.save("p/own.npy", 1 - np.load("own.npy"))
    np.save("same.npy", np.load("own.npy").astype(bool))
    for command, name in (("encode", "encoded-own.npz"), ("score", "scores-own.csv")):
        quick = ["--samples", 2, *(["--estimator", "importance"] if command == "score" else [])]
        file = Path(RUN, name)
        assert cli(command, RUN, "--input", "own.npy", *quick)[0] == 0
        before = file.read_bytes()
        code, _, error = cli(command, RUN, "--input", "p/own.npy", *quick)
        assert code == 2
        assert f"{file} exists and has results of other data: give another --output, or delete it" in error
        assert file.read_bytes() == before
        assert cli(command, RUN, "--input", "p/own.npy", *quick, "--output", f"p/{name}")[0] == 0
        assert cli(command, RUN, "--input", "same.npy", *quick, "--seed", 1, "--output", file)[0] == 0
        assert file.read_bytes() != before
        file.write_text("of somebody else")
        assert cli(command, RUN, "--input", "own.npy", *quick)[0] == 2
        file.unlink()


@pytest.mark.parametrize("words", [[], ["--estimator", "importance", "--samples", 50]])
def test_images_are_scored(words, run, cli):
    code, out, error = cli("score", RUN, "--input", "own.npy", *words)
    assert code == 0, error
    rows = read(out.strip())
    assert [int(row["index"]) for row in rows] == list(range(7))
    assert all(float(row["standard_error"]) > 0 for row in rows)
    if not words:
        exact = annealed_log_likelihood(run.vae(), read_rows(Path("own.npy"), run.spec, run.data_settings), 4, 50)
        assert [float(row["log_likelihood"]) for row in rows] == pytest.approx(exact.log_likelihood.tolist())


def test_noise_is_unlike_the_training_images(run, cli):
    digits = run.data().rows("test")[:50].view(-1, 8, 8)
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


def test_a_folder_holds_the_samples_of_one_call(run, cli):
    assert cli("sample", RUN, "--count", 9, "--output", "many")[0] == 0
    before = {path: path.read_bytes() for path in Path("many").iterdir()}
    code, _, error = cli("sample", RUN, "--count", 3, "--seed", 1, "--output", "many")
    assert code == 2
    assert "many holds 00003.png, which is none of the 3 new pictures: empty it first" in error
    assert {path: path.read_bytes() for path in Path("many").iterdir()} == before
    assert cli("sample", RUN, "--count", 12, "--seed", 1, "--output", "many")[0] == 0
    assert len(list(Path("many").iterdir())) == 12
    assert not before.items() & {path: path.read_bytes() for path in Path("many").iterdir()}.items()


def test_more_samples_than_one_picture_takes_are_written(run, cli):
    assert cli("sample", RUN, "--count", 10_050, "--output", "all.npz")[0] == 0
    images = np.load("all.npz")["images"]
    assert images.shape == (10_050, 8, 8)
    assert images[-50:].std(0).max() > 0.01
    code, _, error = cli("sample", RUN, "--count", 10_050)
    assert code == 2
    assert "--count must be at most 10,000; got 10050: for more give an .npz, a .csv or a folder as --output" in error


def test_endings_in_capitals_are_pictures_too(run, cli):
    assert cli("sample", RUN, "--count", 4, "--output", "four.PNG")[0] == 0
    assert Path("four.PNG").read_bytes().startswith(b"\x89PNG")


def test_a_tilde_is_the_home_folder(run, cli, monkeypatch):
    monkeypatch.setenv("HOME", str(Path.cwd() / "home"))
    assert cli("sample", RUN, "--count", 4, "--output=~/four.npz")[0] == 0
    assert Path("home/four.npz").is_file()


def test_too_little_memory_gets_one_line(run, cli, monkeypatch):
    monkeypatch.setattr("nfvae.models.VAE.sample", lambda *_: torch.empty(10**17))
    code, _, error = cli("sample", RUN, "--output", "x.npz")
    assert code == 2
    assert re.fullmatch(r"nfvae: error: .*can't allocate memory: you tried to allocate \d+ bytes.*\n", error)


def test_an_interpolation_is_drawn(run, cli):
    assert cli("plot", "interpolation", RUN, "--images", 0, 5)[0] == 0
    assert Path(RUN, "plots/interpolation.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["encode", RUN, "--input", "none.npy"], "there is no file none.npy; expected an .npz, .npy or .pt"),
        (["encode", RUN, "--input", "wide.npy"], r"wide.npy has images of shape \[8, 9\]; the run's have \[8, 8\]"),
        (["score", RUN, "--input", "two.npz"], "two.npz should hold train, val and test, or one array; got a, b"),
        (["score", RUN, "--input", "own.npy", "--estimator", "guess"], "unknown estimator 'guess'"),
        (["encode", RUN, "--input", "own.npy", "--samples", 0], "--samples must be at least 1; got 0"),
        (["encode", RUN, "--input", "own.npy", "--output", "x.csv"], "--output should name a file that ends in .npz"),
        (["encode", RUN], "the following arguments are required: --input"),
        (["encode", RUN, "--input", "text.csv"], "cannot read text.csv: expected an .npz, .npy or .pt"),
        (["encode", RUN, "--input", "own.npy", "--output", ""], "argument --output: expected a path; got ''"),
        (["sample", RUN, "--output", ""], "argument --output: expected a path; got ''"),
        (["sample", RUN, "--seed", -1], "--seed must be at least 0; got -1"),
        (["score", RUN, "--input", "own.npy", "--seed", 2**70], "--seed must be at most 4,294,967,295"),
        (["plot", "interpolation", RUN, "--images", 1, 2, 3], "an interpolation goes between pairs of images; got 3"),
        (["sample", RUN, "--temperature", -1], "temperature must be above 0; got -1.0"),
    ],
)
def test_mistakes_get_one_line(words, message, run, cli):
    Path("text.csv").write_text("0,1")
    np.save("wide.npy", np.zeros((2, 8, 9)))
    np.savez("two.npz", a=np.zeros((2, 8, 8)), b=np.zeros((2, 8, 8)))
    code, _, error = cli(*words)
    assert code == 2
    (line,) = error.strip().splitlines()[-1:]
    assert re.search(message, line), line
