"""Data of every kind by commands: vectors, colors, labels, missing values, conditions."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from nfvae import DataModule, log_likelihood
from nfvae.estimators import calibration, class_log_likelihoods, class_probabilities
from nfvae.runs import Run
from tests.conftest import QUICKSTART
from tests.helpers.own_images import color_data, write_holes, write_table

TINY = ["--model.latent", 2, "--model.encoder_options.hidden", "[16]", "--model.decoder_options.hidden", "[16]"]
SHORT = ["--trainer.max_epochs", 2, "--trainer.enable_model_summary", "false"]
TABLE = ["--data.dataset", "vectors", "--model.likelihood", "gaussian", *TINY, *SHORT]


def ran(cli, *words):
    code, out, error = cli(*words)
    assert code == 0, error
    return out


def refused(cli, *words):
    code, _, error = cli(*words)
    assert code == 2, error
    assert error.count("\n") == 1
    return error


def table(path):
    return list(csv.DictReader(Path(path).read_text().splitlines()))


def test_a_table_is_fitted_evaluated_scored_and_sampled(cli, workdir):
    write_table(workdir)
    ran(cli, "fit", *TABLE, "--data.root", "table.csv", "--name", "t")
    out = ran(cli, "evaluate", "runs/t", "--samples", 50)
    assert "20 vectors, nats per vector" in out
    assert "image" not in out
    summary = json.loads(Path("runs/t/evaluation-test-importance-50.json").read_text())
    assert summary["bits_per_dim"] is None
    run = Run("runs/t")
    found = log_likelihood(run.vae(), run.data().rows("test"), 50, proposal="mixture").log_likelihood
    assert summary["nll"] == pytest.approx(-float(found.mean()), abs=1e-5)
    assert run.names.columns == ["width", "height", "depth"]
    ran(cli, "sample", "runs/t", "--count", 500, "--output", "s.csv")
    drawn = np.array([[float(value) for value in row.values()] for row in table("s.csv")])
    data = np.loadtxt("table.csv", delimiter=",", skiprows=1)
    assert [*table("s.csv")[0]] == ["width", "height", "depth"]
    assert (np.abs(drawn.mean(0) - data.mean(0)) < data.std(0)).all()  # the units of the table
    ran(cli, "score", "runs/t", "--input", "table.csv", "--estimator", "importance", "--samples", 20)
    assert len(table("runs/t/scores-table.csv")) == 200
    for kind in ("samples", "reconstructions", "latents"):
        assert Path(ran(cli, "plot", kind, "runs/t").strip()).is_file()
    assert "takes a picture, an .npz" not in ran(cli, "sample", "runs/t", "--output", "s.npz")
    assert "are no pictures" in refused(cli, "sample", "runs/t", "--output", "folder")


def test_the_units_of_the_data_move_the_likelihood_by_their_logarithm(cli, workdir):
    """Data in other units have the same model, whose log-density differs by the logarithm of the factor."""
    values = np.random.default_rng(0).normal(size=(300, 3))
    nll = []
    for factor in (1, 1000):
        np.save("x.npy", factor * values)
        ran(cli, "fit", *TABLE, "--data.root", "x.npy", "--name", f"x{factor}")
        ran(cli, "evaluate", f"runs/x{factor}", "--samples", 100)
        nll.append(json.loads(Path(f"runs/x{factor}/evaluation-test-importance-100.json").read_text())["nll"])
    assert nll[1] - nll[0] == pytest.approx(3 * np.log(1000), abs=1e-3)


def test_missing_values_are_trained_on_and_imputed(cli, workdir):
    write_table(workdir)
    rows = Path("table.csv").read_text().splitlines()
    holes = [rows[0], *(row if place % 3 else "," + row.partition(",")[2] for place, row in enumerate(rows[1:]))]
    Path("holes.csv").write_text("\n".join(holes) + "\n")
    ran(cli, "fit", *TABLE, "--data.root", "holes.csv", "--name", "h")
    ran(cli, "evaluate", "runs/h", "--samples", 30)
    out = ran(cli, "impute", "runs/h", "--input", "holes.csv", "--imputations", 4, "--samples", 200)
    assert "67 of 600 values were missing" in " ".join(out.split())
    found = np.load("runs/h/imputed-holes.npz")
    assert found["values"].shape == (4, 200, 3)
    assert np.isfinite(found["values"]).all()
    ran(cli, "impute", "runs/h", "--input", "holes.csv", "--imputations", 2, "--samples", 50, "--output", "i.csv")
    assert len(table("i.csv")) == 400
    assert [*table("i.csv")[0]] == ["imputation", "index", "width", "height", "depth"]
    assert "nothing is to be imputed" in refused(cli, "impute", "runs/h", "--input", "table.csv")
    ran(cli, "fit", *TABLE, "--data.root", "table.csv", "--name", "whole")
    assert "has missing values; the run was trained without any" in refused(
        cli, "score", "runs/whole", "--input", "holes.csv"
    )
    ran(cli, "impute", "runs/whole", "--input", "holes.csv", "--samples", 50)


@pytest.fixture
def labeled(cli, workdir):
    write_table(workdir)
    ran(cli, "fit", *TABLE, "--data.root", "labeled.csv", "--data.labels", "label", "--name", "l")


def test_labels_condition_every_part_and_classify(labeled, cli):
    run = Run("runs/l")
    assert run.names.classes == ["north", "south"]
    ran(cli, "sample", "runs/l", "--label", "south", "--output", "s.csv")
    assert "unknown label 'east'; known labels: north, south" in refused(cli, "sample", "runs/l", "--label", "east")
    assert "the run takes --label; got --condition [1.0]" in refused(cli, "sample", "runs/l", "--condition", 1)
    out = ran(cli, "evaluate", "runs/l", "--samples", 20)
    assert "given the label of each" in out
    ran(cli, "classify", "runs/l", "--samples", 30)
    summary = json.loads(Path("runs/l/classified-test-importance-30.json").read_text())
    rows = table("runs/l/classified-test-importance-30.csv")
    assert summary["accuracy"] == pytest.approx(np.mean([row["label"] == row["predicted"] for row in rows]), abs=1e-6)
    model, data = run.vae(), run.data().rows("test")
    log_p = class_log_likelihoods(
        model, data, lambda rows: log_likelihood(model, rows, 30, proposal="mixture").log_likelihood
    )
    expected = class_probabilities(log_p, torch.tensor(run.names.class_shares))
    found = torch.tensor([[float(row["p_north"]), float(row["p_south"])] for row in rows])
    torch.testing.assert_close(found, expected.float(), atol=1e-5, rtol=1e-4)
    ran(cli, "classify", "runs/l", "--input", "table.csv", "--samples", 5)
    assert "label" not in table("runs/l/classified-table-importance-5.csv")[0]
    assert "is conditioned: give --label" in refused(cli, "score", "runs/l", "--input", "table.csv")
    ran(cli, "score", "runs/l", "--input", "table.csv", "--label", "north")
    ran(cli, "score", "runs/l", "--input", "labeled.csv", "--output", "own.csv")
    assert table("own.csv") != table("runs/l/scores-table.csv")
    for estimator in ("annealed", "sandwich"):
        ran(cli, "evaluate", "runs/l", "--estimator", estimator, "--chains", 2, "--temperatures", 5, "--limit", 3)


def test_calibration_is_the_distance_of_confidence_and_accuracy():
    probabilities = torch.tensor([[0.9, 0.1]] * 10 + [[0.3, 0.7]] * 10)
    labels = torch.tensor([0] * 8 + [1] * 2 + [1] * 5 + [0] * 5)
    found = calibration(probabilities, labels)
    assert found.error == pytest.approx((0.1 + 0.2) / 2)
    assert found.counts.sum() == 20


def test_labels_that_are_missing_in_part_are_refused(cli, workdir):
    write_table(workdir)
    text = Path("labeled.csv").read_text()
    Path("labeled.csv").write_text(text.replace("north", "", 3))
    error = refused(cli, "fit", *TABLE, "--data.root", "labeled.csv", "--data.labels", "label")
    assert "have no label: semi-supervised training is not offered" in error
    assert "has no column kind for the labels; it has width, height, depth" in refused(
        cli, "fit", *TABLE, "--data.root", "labeled.csv", "--data.labels", "kind"
    )
    assert "column label of labeled.csv holds text, as" in refused(cli, "fit", *TABLE, "--data.root", "labeled.csv")
    assert "was trained without labels" in refused(
        cli, "sample", ran(cli, "fit", *TABLE, "--data.root", "table.csv", "--name", "n") and "runs/n", "--label", "x"
    )


@pytest.mark.parametrize("parts", ["[encoder]", "[decoder]", "[prior]", "[flow]", "[encoder,flow,prior,decoder]"])
@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_each_part_of_an_image_model_can_see_the_label(parts, network, cli):
    words = ["-c", QUICKSTART, "--model.encoder", network, "--model.decoder", network, "--model.latent", 2]
    words += ["--data.labels", "true", "--model.conditioned", parts, "--trainer.limit_train_batches", 2, *SHORT]
    small = ["--model.encoder_options.channels", 2, "--model.decoder_options.channels", 2] if network == "conv" else []
    ran(cli, "fit", *words, *small, "--trainer.max_epochs", 1, "--name", "p")
    model = Run("runs/p").vae()
    x = DataModule("digits", "threshold", labels=True).rows("test")[:2]
    other = x.clone()
    other[:, 64:] = other[:, 64:].roll(3, 1)
    torch.manual_seed(0)
    one = model.posterior(x).base.loc
    assert torch.equal(one, model.posterior(other).base.loc) != ("encoder" in parts)
    z = torch.randn(2, 2)
    own = [model.decode(z, rows[:, 64:]).mean for rows in (x, other)]
    assert torch.equal(*own) != ("decoder" in parts)
    priors = [model.prior_of(rows).log_prob(z) for rows in (x, other)]
    assert torch.allclose(*priors) != ("prior" in parts)


@pytest.mark.parametrize("prior", ["mixture", "vamp"])
def test_a_prior_without_conditions_is_refused(prior, cli):
    words = ["-c", QUICKSTART, "--data.labels", "true", "--model.prior", prior, *SHORT]
    error = refused(cli, "fit", *words, "--model.conditioned", "[prior,decoder]")
    assert f"the prior {prior} takes no conditions; flow, normal do" in error
    if prior == "vamp":
        assert "is made of posteriors without conditions" in refused(cli, "fit", *words)


@pytest.mark.parametrize(("dataset", "likelihood"), [("cifar10", "logistic"), ("svhn", "gaussian")])
def test_color_images_are_fitted_with_every_network(dataset, likelihood, cli, monkeypatch):
    images, labels = color_data(monkeypatch)
    words = ["--data.dataset", dataset, "--model.likelihood", likelihood, "--data.batch_size", 25, "--model.latent", 2]
    for network in ("mlp", "gated", "conv", "resnet"):
        small = {"conv": "channels", "resnet": "channels"}.get(network)
        options = [f"--model.{role}_options.{small}=2" for role in ("encoder", "decoder")] if small else []
        options = options or [f"--model.{role}_options.hidden=[8]" for role in ("encoder", "decoder")]
        networks = ["--model.encoder", network, "--model.decoder", network]
        ran(cli, "fit", *words, *networks, *options, "--trainer.max_epochs", 1, "--name", network)
    data = Run("runs/mlp").data(labels=True)
    row = data.rows("test")[7]
    torch.testing.assert_close(row[:3072].view(3, 32, 32) * 255, torch.from_numpy(images[7]).float())
    assert int(row[3072:].argmax()) == labels[7]
    ran(cli, "evaluate", "runs/mlp", "--samples", 3, "--limit", 4)
    summary = json.loads(Path("runs/mlp/evaluation-test-importance-3-first4.json").read_text())
    expected = summary["nll"] / 3072 / np.log(2) if likelihood == "logistic" else None
    assert summary["bits_per_dim"] == (None if expected is None else pytest.approx(expected, abs=1e-5))
    for kind in ("samples", "reconstructions"):
        assert Path(ran(cli, "plot", kind, "runs/mlp").strip()).stat().st_size > 3_000
    ran(cli, "sample", "runs/mlp", "--count", 3, "--output", "pictures")
    assert len(list(Path("pictures").iterdir())) == 3
    assert "takes binary data; got images of shape [3, 32, 32]" in refused(cli, "fit", "--data.dataset", dataset)


def test_gray_images_keep_their_levels(cli, caplog):
    words = ["-c", QUICKSTART, "--data.binarization", "none", "--model.likelihood", "logistic", *SHORT]
    ran(cli, "fit", *words, "--name", "gray")
    gray = DataModule("digits", "none").rows("test")[:5]
    assert len(gray.unique()) > 10
    np.save("gray.npy", (gray.view(-1, 8, 8) * 255).round().numpy())
    ran(cli, "score", "runs/gray", "--input", "gray.npy", "--estimator", "importance", "--samples", 20)
    scored = [float(row["log_likelihood"]) for row in table("runs/gray/scores-gray.csv")]
    model = Run("runs/gray").vae()
    expected = log_likelihood(model, gray, 20, proposal="mixture").log_likelihood
    assert scored == pytest.approx(expected.tolist(), rel=1e-5)
    ran(cli, "sample", "runs/gray", "--values", "sample", "--output", "s.npz")
    assert len(np.unique(np.load("s.npz")["images"])) > 10
    assert "has no mode" in refused(cli, "sample", "runs/gray", "--values", "mode", "--output", "m.npz")
    with caplog.at_level("INFO"):
        ran(cli, "fit", "-c", QUICKSTART, "--data.binarization", "none", "--model.likelihood", "beta", *SHORT)
    assert "is a density, and these data have levels" in caplog.text


def test_a_conditional_density_is_a_run_as_any_other(cli):
    words = ["--task", "density", "--data.dataset", "wine", "--data.condition", "[alcohol,hue]", "--model.flow", "maf"]
    ran(cli, "fit", *words, "--model.depth", 1, *SHORT, "--name", "c")
    out = ran(cli, "evaluate", "runs/c")
    assert "given the condition of each" in out
    ran(cli, "sample", "runs/c", "--condition", 13, 1, "--count", 7, "--output", "s.csv")
    assert len(table("s.csv")) == 7
    assert {row["alcohol"] for row in table("s.csv")} == {"13.0"}
    run = Run("runs/c")
    rows = run.data().rows("test")
    density = run.density()(rows[:, 11:])
    summary = json.loads(Path("runs/c/evaluation-test-exact.json").read_text())
    assert summary["nll"] == pytest.approx(-float(density.log_prob(rows[:, :11]).mean().detach()), abs=1e-4)
    assert "takes 2 numbers (alcohol, hue); got --condition [13.0]" in refused(
        cli, "sample", "runs/c", "--condition", 13
    )
    error = refused(cli, "fit", *words[:-2], "--data.condition", "[alcohl]")
    assert "wine: unknown column 'alcohl'" in error
    assert "did you mean alcohol" in error


def test_densities_and_vaes_of_the_same_vectors_are_compared(cli):
    ran(cli, "fit", "--task", "density", "--data.dataset", "wine", "--model.depth", 1, *SHORT, "--name", "d")
    ran(cli, "fit", "--data.dataset", "wine", "--model.likelihood", "gaussian", *TINY, *SHORT, "--name", "v")
    ran(cli, "evaluate", "runs/d", "runs/v", "--samples", 50)
    out = ran(cli, "compare", "runs/d", "runs/v", "--samples", 50, "--baseline", "runs/d")
    assert "exact" in out
    ran(cli, "score", "runs/d", "--input", *_wine())
    scored = [float(row["log_likelihood"]) for row in table("runs/d/scores-wine.csv")]
    assert -np.mean(scored) == pytest.approx(
        json.loads(Path("runs/d/evaluation-test-exact.json").read_text())["nll"], abs=1e-4
    )
    ran(cli, "export", "runs/d", "--to", "shared")
    ran(cli, "sample", "shared/d", "--output", "s.csv")
    assert "a density has samples alone" in refused(cli, "sample", "runs/d", "--values", "mean")


def _wine():
    data = DataModule("wine")
    rows = [data.source.columns, *data.rows("test").tolist()]
    with open("wine.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return ["wine.csv"]


def test_samples_of_the_prior_are_a_proposal_beside_the_posterior(run, cli):
    for proposal in ("posterior", "prior"):
        ran(cli, "evaluate", run, "--samples", 100, "--limit", 5, "--proposal", proposal)
    summary = json.loads((run / "evaluation-test-importance-100-prior-first5.json").read_text())
    assert summary["elbo"] is None
    picture = ran(cli, "plot", "k-curve", run, "--samples", 100, "--limit", 5, "--proposal", "posterior")
    assert Path(picture.strip()).is_file()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a;b\n1;2\n", "the cells of bad.csv seem to be separated by ';'; expected commas"),
        ("a,b\n", "bad.csv holds names of columns, but no rows"),
        ('a,b\n"0,5",1\n', "column a of bad.csv holds text, as '0,5': write decimal numbers with a point"),
        ("a,b\n1e300,1\n2,3\n", "bad.csv holds numbers too large for float32 in a: divide these columns"),
        ("a,b\ninf,1\n2,3\n", "bad.csv holds infinite numbers in a"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(cli, workdir, text, message):
    Path("bad.csv").write_text(text)
    assert message in refused(cli, "fit", "--data.dataset", "vectors", "--data.root", "bad.csv")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "bad.npz holds no array"),
        ({"x": np.zeros(5)}, "x of bad.npz should hold vectors, shape (N, D); got (5,)"),
        ({"x": np.ones((5, 2)) * 1j}, "bad.npz holds complex numbers"),
        ({"x": np.eye(9), "labels": np.ones(8)}, "there are 8 labels for 9 data"),
        ({"train": np.eye(9), "test": np.eye(9), "y_train": np.zeros(9), "y_test": np.ones(9)}, "with the label 1"),
    ],
)
def test_arrays_that_make_no_sense_are_refused(cli, workdir, arrays, message):
    np.savez("bad.npz", **arrays)
    words = ["--data.dataset", "vectors", "--data.root", "bad.npz", "--data.labels", "true"]
    assert message in refused(cli, "fit", "--model.likelihood", "gaussian", *words)


def test_columns_are_named_once_and_labels_are_no_fractions(cli, workdir):
    write_table(workdir)
    words = ["fit", *TABLE, "--data.root", "table.csv"]
    error = refused(cli, *words, "--data.dataset_options.columns", "[width,width]")
    assert "column width of table.csv is named twice" in error
    error = refused(cli, *words, "--data.dataset_options.columns", "[widths]")
    assert "table.csv: unknown column 'widths'; known columns: width, height, depth; did you mean width?" in error
    error = refused(cli, *words, "--data.labels", "depth")
    assert "column depth of table.csv should hold labels, whole numbers or names; got " in error


def test_drawn_data_replace_no_file(labeled, cli):
    Path("mine.csv").write_text("a\n1\n")
    for words in (["sample"], ["impute", "--input", "mine.csv"], ["classify"]):
        error = refused(cli, words[0], "runs/l", *words[1:], "--output", "mine.csv")
        assert "--output mine.csv exists: remove it, or choose another name" in error
    assert Path("mine.csv").read_text() == "a\n1\n"
    for temperature in ("nan", -1):
        assert "--temperature must be" in refused(cli, "sample", "runs/l", "--temperature", temperature)
    ran(cli, "sample", "runs/l", "--count", 20, "--output", "drawn.csv")
    assert [row["label"] for row in table("drawn.csv")] == ["north"] * 8 + ["south"] * 8 + ["north"] * 4


def test_a_density_with_a_support_has_no_probability_beyond_it(cli, workdir):
    write_table(workdir)
    words = ["--task", "density", *TABLE[:2], "--data.root", "table.csv", "--model.depth", 1, *SHORT]
    ran(cli, "fit", *words, "--model.support", "[-60,60]", "--name", "s")
    Path("far.csv").write_text("width,height,depth\n0,4,900\n0,4,1\n")
    ran(cli, "score", "runs/s", "--input", "far.csv")
    first, second = (float(row["log_likelihood"]) for row in table("runs/s/scores-far.csv"))
    assert first == -math.inf
    assert math.isfinite(second)
    assert "has no importance samples: leave out runs/s" in refused(cli, "plot", "k-curve", "runs/s")
    assert "not all are inside the support" in refused(cli, "fit", *words, "--model.support", "unit", "--name", "u")


def test_a_column_without_values_is_imputed(cli, workdir):
    write_table(workdir)
    write_holes(workdir)
    ran(cli, "fit", *TABLE, "--data.root", "holes.csv", *TINY, *SHORT, "--name", "h")
    Path("empty.csv").write_text("width,height,depth\n,4,1\n,5,0\n")
    ran(cli, "impute", "runs/h", "--input", "empty.csv", "--samples", 30, "--output", "full.csv")
    assert all(row["width"] for row in table("full.csv"))


def test_a_training_whose_data_have_no_picture_ends_well(cli, workdir):
    np.savez("two.npz", images=np.random.default_rng(0).integers(0, 256, (60, 8, 6, 2), np.uint8))
    words = ["--data.dataset", "arrays", "--data.root", "two.npz", "--model.likelihood", "logistic"]
    out = ran(cli, "fit", *words, *TINY, *SHORT, "--name", "two")
    assert "no picture of samples: images of 1 or 3 channels are drawn; got data of shape [2, 8, 6]" in out
    assert out.splitlines()[-1].endswith("checkpoint: runs/two/checkpoints/best.ckpt")
