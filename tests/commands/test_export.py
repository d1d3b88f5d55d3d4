"""Runs as small folders: what of a run is there, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from nfvae.__main__ import main
from nfvae.runs import Run
from tests.commands.test_fit import assert_one_line
from tests.conftest import QUICKSTART
from tests.helpers.checkpoints import changed

RUN = "runs/digits-iaf-4-seed0"
EVALUATE = ["--samples", 20, "--limit", 10]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A run of an epoch, evaluated."""
    root = tmp_path_factory.mktemp("kept")
    arguments = ["--trainer.max_epochs", "1", "--trainer.default_root_dir", str(root / "runs")]
    assert main(["fit", "-c", QUICKSTART, *arguments]) == 0
    assert main(["evaluate", str(root / RUN), *map(str, EVALUATE)]) == 0
    return root / RUN


@pytest.fixture
def trained(kept, workdir):
    """The run, in the folder of runs below the current one."""
    shutil.copytree(kept, RUN)
    return Path(RUN)


def test_a_run_with_its_weights_is_the_same_model(trained, cli):
    code, out, error = cli("export", RUN, "--to", "small")
    assert (code, out) == (0, "small/digits-iaf-4-seed0\n"), error
    one, other = Run(RUN), Run("small/digits-iaf-4-seed0")
    assert one.digest() == other.digest()
    for name, value in one.vae().state_dict().items():
        assert torch.equal(other.vae().state_dict()[name], value)
    assert other.path.stat().st_size < 0.6 * one.path.stat().st_size
    tables = [cli("compare", each.folder.path, *EVALUATE, "--format", "json") for each in (one, other)]
    assert tables[0] == tables[1]
    assert tables[0][0] == 0
    found = json.loads(next(trained.glob("evaluation-*.json")).read_text())
    assert cli("evaluate", other.folder.path, *EVALUATE)[0] == 0
    again = json.loads(next(other.folder.path.glob("evaluation-*.json")).read_text())
    assert again["nll"] == found["nll"]


def test_a_run_without_weights_is_compared_alone(trained, cli):
    assert cli("export", RUN, "--to", "small", "--weights", "none")[0] == 0
    small = Path("small/digits-iaf-4-seed0")
    assert sum(file.stat().st_size for file in small.rglob("*") if file.is_file()) < 20_000
    tables = [cli("compare", each, *EVALUATE, "--format", "json") for each in (RUN, small)]
    assert tables[0] == tables[1]
    for command in (["sample", small], ["evaluate", small, "--samples", 30], ["test", small]):
        code, _, error = cli(*command)
        assert code == 2
        assert f"{small}/checkpoints/best.ckpt was exported without its weights" in error
    code, _, error = cli("compare", small, "--samples", 30)
    assert code == 2
    without = "has no evaluation-test-importance-30, and was exported without the weights for one; there is evaluation-"
    assert without in error
    code, _, error = cli("compare", RUN, small, *EVALUATE, "--baseline", RUN)
    assert code == 2
    assert "neither wandb nor an exported run holds" in error


def test_weights_in_16_bits_are_another_model(trained, cli):
    assert cli("export", RUN, "--to", "small", "--weights", "half")[0] == 0
    small = Run("small/digits-iaf-4-seed0")
    assert not small.folder.evaluations()
    assert small.digest() != Run(RUN).digest()
    for name, value in Run(RUN).vae().state_dict().items():
        torch.testing.assert_close(small.vae().state_dict()[name], value, rtol=1e-3, atol=1e-6)
    assert cli("evaluate", small.folder.path, *EVALUATE)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([RUN, "--to", "runs"], f"{RUN} exists already"),
        ([RUN, f"other/../{RUN}", "--to", "small"], "two of the runs are called digits-iaf-4-seed0"),
        (
            [RUN, "--to", "small", "--weights", "quarter"],
            "unknown --weights choice 'quarter'; known --weights choices: ",
        ),
        (["runs/none", "--to", "small"], "there is no run runs/none"),
        ([RUN, "--to", RUN], f"{RUN} is a run; expected a folder for exported ones"),
    ],
)
def test_mistakes_leave_nothing_behind(arguments, message, trained, cli):
    Path("other").mkdir()
    code, _, error = cli("export", *arguments)
    assert code == 2
    assert message in error
    assert not Path("small").exists()


def test_no_training_goes_on_from_an_exported_run(trained, cli):
    assert cli("export", RUN, "--to", "small")[0] == 0
    code, _, error = cli("fit", "--ckpt_path", "small/digits-iaf-4-seed0", "--trainer.max_epochs", 9)
    assert code == 2
    assert "was exported and cannot be resumed" in error


def test_what_was_left_out_is_not_exported_again(trained, cli):
    assert cli("export", RUN, "--to", "small", "--weights", "none")[0] == 0
    small = "small/digits-iaf-4-seed0"
    code, _, error = cli("export", small, "--to", "again")
    assert code == 2
    assert "was exported without its weights" in error
    assert not any(Path("again").rglob("*"))
    assert cli("export", small, "--to", "again", "--weights", "none")[0] == 0


def test_an_export_that_was_killed_or_failed_is_made_again(trained, cli, monkeypatch):
    Path("small/.digits-iaf-4-seed0.exported/checkpoints").mkdir(parents=True)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("nfvae.commands.export.write_tensors", full)
        assert cli("export", RUN, "--to", "small")[0] == 2
    assert not list(Path("small").iterdir())
    assert cli("export", RUN, "--to", "small")[0] == 0
    assert [path.name for path in Path("small").iterdir()] == ["digits-iaf-4-seed0"]


def test_evaluations_go_with_the_checkpoint_that_they_are_of(trained, cli, monkeypatch):
    last = trained / "checkpoints/last.ckpt"
    with changed(last) as saved:
        next(iter(saved["state_dict"].values())).add_(1e-6)
    assert cli("evaluate", last, *EVALUATE, "--seed", 3)[0] == 0
    monkeypatch.chdir(last.parent)
    assert cli("export", "last.ckpt", "--to", "../../../small")[0] == 0
    assert cli("export", "best.ckpt", "--to", "../../../best")[0] == 0
    monkeypatch.chdir("../../..")
    names = {to: [path.name for path in Path(to, trained.name).glob("evaluation-*")] for to in ("small", "best")}
    assert names == {"small": ["evaluation-test-importance-20-first10-seed3.json"],
                     "best": ["evaluation-test-importance-20-first10.json"]}  # fmt: skip
    assert cli("compare", f"small/{trained.name}", *EVALUATE, "--seed", 3)[0] == 0


@pytest.mark.parametrize(
    ("value", "weights", "message"),
    [
        (
            70_000.0,
            "half",
            "reach 70,000, and 65,504 is the most that 16 bits hold",
        ),
        (-66_000.0, "half", "reach 66,000"),
        (torch.nan, "full", "are not finite"),
        (torch.inf, "half", "are not finite"),
    ],
)
def test_weights_that_would_be_spoilt_are_not_exported(value, weights, message, trained, cli):
    shutil.copytree(trained, "runs/other")
    with changed("runs/other/checkpoints/best.ckpt") as saved:
        saved["state_dict"]["model.decoder.head.bias"][3] = value
    code, _, error = cli("export", RUN, "runs/other", "--to", "small", "--weights", weights)
    named = "other/checkpoints/best.ckpt with --weights .*: the weights model.decoder.head.bias"
    assert_one_line(code, error, f"{named} {message}")
    assert not list(Path().glob("small/*"))
    assert cli("export", "runs/other", "--to", "small", "--weights", "none")[0] == 0


def test_the_largest_number_of_16_bits_is_exported(trained, cli):
    with changed(f"{RUN}/checkpoints/best.ckpt") as saved:
        saved["state_dict"]["model.decoder.head.bias"][3] = 65_504.0
    assert cli("export", RUN, "--to", "small", "--weights", "half")[0] == 0
    assert Run("small/digits-iaf-4-seed0").vae().decoder.head.bias[3] == 65_504


def test_an_evaluation_with_a_name_twice_is_not_exported(trained, cli):
    summary = next(trained.glob("evaluation-*.json"))
    summary.write_text(summary.read_text().replace('"nll":', '"nll": 5, "nll":'))
    code, _, error = cli("export", RUN, "--to", "small")
    assert_one_line(code, error, f"{summary} is damaged")
