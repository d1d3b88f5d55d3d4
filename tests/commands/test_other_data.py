"""Other data under the same name: nothing takes the numbers of one data set for another's."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from nfvae.data import DataModule
from nfvae.runs.run import Run
from tests.conftest import QUICKSTART
from tests.helpers.sweeps import sweep

ARRAYS = ["--data.dataset", "arrays"]
TINY = [
    "--model.schedule",
    "constant",
    "--model.encoder_options.hidden",
    "[8]",
    "--model.decoder_options.hidden",
    "[8]",
    "--model.latent",
    2,
]
EPOCH = ["--trainer.max_epochs", 1]


def write(name, seed, size=8):
    dark = np.random.default_rng(seed).random((60, size, size)) ** 3
    np.save(name, 1 - dark if seed % 2 else dark)
    return name


@pytest.fixture
def trained(fit):
    def call(name, *arguments):
        code, _, error = fit("--name", name, *ARRAYS, *TINY, *EPOCH, *arguments)
        assert code == 0, error
        return Path("runs", name)

    return call


def nll(path):
    return json.loads(path.read_text())["nll"]


def test_an_evaluation_knows_its_images(trained, cli):
    run = trained("a", "--data.root", write("x.npy", 0))
    write("y.npy", 1)
    evaluate = ["evaluate", run, "--samples", 50]
    assert cli(*evaluate)[0] == 0
    own = nll(run / "evaluation-test-importance-50.json")
    assert cli(*evaluate, "--data.root", "y.npy")[0] == 0
    digest = DataModule("arrays", root="y.npy").digest[:8]
    other = nll(run / f"evaluation-test-importance-50-data_{digest}.json")
    assert other > own + 5
    assert nll(run / "evaluation-test-importance-50.json") == own
    shutil.copy("x.npy", "moved.npy")
    code, out, _ = cli(*evaluate, "--data.root", "moved.npy")
    assert code == 0
    assert "written" not in out
    shutil.copy("y.npy", "x.npy")  # the very file has other images now
    assert cli(*evaluate)[0] == 0
    assert nll(run / "evaluation-test-importance-50.json") == own


def test_parts_of_an_evaluation_of_other_images_do_not_count(trained, cli, monkeypatch):
    run = trained("a", "--data.root", write("x.npy", 0))
    settings = Run(run).checkpoint["datamodule_hyper_parameters"]
    assert settings["_sha256"] == DataModule("arrays", root="x.npy").digest
    assert "_sha256" not in Run(run).data_settings


@pytest.mark.parametrize(
    ("changes", "message"),
    sweep(
        [
            ({"seed": 1}, "different data"),
            ({"options": {"split_seed": 1}}, "different data"),
            ({"size": 4}, "different data"),
        ],
        lambda changes, _: "seed" in changes,
    ),
)
def test_runs_on_different_images_are_neither_paired_nor_pooled_nor_drawn_together(changes, message, trained, cli):
    seed, size, options = changes.get("seed", 0), changes.get("size", 8), json.dumps(changes.get("options", {}))
    runs = [
        trained("a", "--data.root", write("x.npy", 0)),
        trained(
            "b", "--data.root", write("y.npy", seed, size), "--data.dataset_options", options, "--seed_everything", 1
        ),
    ]
    for estimator in (["importance"], ["annealed", "--chains", 2, "--temperatures", 5]):
        code, _, error = cli("evaluate", *runs, "--samples", 30, "--estimator", *estimator)
        assert code == 0, error
    sizes = ["--samples", 30, "--chains", 2, "--temperatures", 5]
    for command in (
        ["compare", *runs, "--samples", 30],
        ["plot", "k-curve", *runs, *sizes],
        ["plot", "gain", *runs, *sizes],
        ["plot", "learning", *runs],
    ):
        code, _, error = cli(*command)
        assert code == 2, command
        assert message in error
    code, out, _ = cli("compare", *runs, "--samples", 30, "--force", "--format", "json")
    assert code == 0
    assert len(json.loads(out)) == 2


def test_inverted_images_are_others(workdir):
    from PIL import Image

    Path("p").mkdir()
    for place in range(12):
        Image.fromarray(np.full((8, 8), 20 * place, np.uint8)).save(f"p/{place}.png")
    digests = {DataModule("folder", root="p", dataset_options={"invert": invert}).digest for invert in (True, False)}
    assert len(digests) == 2


def test_a_training_goes_on_with_its_own_images(trained, cli):
    run = trained("a", "--data.root", write("x.npy", 0))
    before = (run / "config.yaml").read_bytes()
    code, _, error = cli("fit", "--ckpt_path", run, "--data.root", write("y.npy", 1), "--trainer.max_epochs", 2)
    assert code == 2
    assert "was trained on other data than those under y.npy" in error
    assert (run / "config.yaml").read_bytes() == before
    shutil.move("x.npy", "z.npy")
    best = (run / "checkpoints/best.ckpt").read_bytes()
    code, _, error = cli(
        *("fit", "--ckpt_path", run, "--data.root", "z.npy", "--trainer.max_epochs", 2, "--model.lr", 100)
    )
    assert code == 0, error  # its pictures are drawn of an epoch before the data moved
    assert (run / "checkpoints/best.ckpt").read_bytes() == best


def test_compare_does_not_take_a_run_on_other_images_for_a_config(workdir, cli):
    config = Path("c.yaml")
    for root, code in (("x.npy", 0), ("x.npy", 0), ("y.npy", 2)):
        write(root, int(root == "y.npy"))
        config.write_text(f"name: c\ndata: {{dataset: arrays, root: {root}, binarization: dynamic}}\n")
        found, _, error = cli("compare", config, "-c", QUICKSTART, *TINY, *EPOCH, "--fit", "--samples", 20)
        assert found == code, error
    assert "was trained on other data" in error


@pytest.mark.parametrize("change", [["--data.root", "y.npy"], ["--data.dataset_options.split_seed", 1]])
def test_a_student_does_not_validate_on_what_its_teacher_has_seen(change, trained, cli, fit):
    teacher = trained("teacher", "--data.root", write("x.npy", 0))
    write("y.npy", 1)
    student = ["--task", "distill", "--model.teacher", teacher, *ARRAYS, *EPOCH]
    student += ["--model.encoder_options.hidden", "[8]"]
    code, _, error = cli("fit", *student, "--data.root", "x.npy", *change, "--name", "student")
    assert code == 2
    assert "was trained on other data, or another split" in error
    code, _, error = cli("fit", *student, "--data.root", "x.npy", "--name", "student")
    assert code == 0, error


def test_reports_and_predictions_of_other_images_have_names_of_their_own(trained, cli):
    run = trained("a", "--data.root", write("x.npy", 0))
    digest = DataModule("arrays", root=write("y.npy", 1)).digest[:8]
    names = {"test": "test.json", "validate": "validate.json", "predict": "latents.pt"}
    for command, name in names.items():
        assert cli(command, run)[0] == 0
        own = (run / name).read_bytes()
        code, out, error = cli(command, run, "--data.root", "y.npy")
        assert code == 0, error
        assert f"-data_{digest}" in out
        assert (run / name).read_bytes() == own
        assert (run / name.replace(".", f"-data_{digest}.")).is_file()


def test_a_gap_and_an_evaluation_of_other_images_say_so(trained, cli, short_gaps):
    run = trained("a", "--data.root", write("x.npy", 0))
    digest = DataModule("arrays", root=write("y.npy", 1)).digest[:8]
    for command in (["gap", run, "--limit", 2, "--budget", "small"], ["evaluate", run, "--samples", 30]):
        code, out, error = cli(*command, "--data.root", "y.npy")
        assert code == 0, error
        assert f"{run} data_{digest}" in " ".join(out.split())


@pytest.mark.parametrize("kind", ["k-curve", "gain", "gap", "learning", "samples"])
def test_pictures_that_read_no_images_take_no_data_root(kind, trained, cli):
    run = trained("a", "--data.root", write("x.npy", 0))
    code, _, error = cli("plot", kind, run, "--data.root", "x.npy")
    assert code == 2
    assert f"plot {kind} reads no images" in error
