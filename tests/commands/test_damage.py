"""Damaged files, weights that are none, two processes in one folder, and what a training that goes on may change."""

import json
import os
import pickle
import shutil
import time
import warnings
from pathlib import Path

import pytest
import torch

from nfvae.__main__ import main
from nfvae.runs import Run
from nfvae.runs.digests import content_digest
from nfvae.runs.evaluation import read_evaluation
from nfvae.runs.locks import locked
from tests.commands.test_fit import BEST, LAST, RUN, assert_one_line, curve, rows
from tests.conftest import QUICKSTART, in_the_background
from tests.helpers.checkpoints import changed
from tests.helpers.sweeps import first

EVALUATE = ["evaluate", RUN, "--samples", 10]
SUMMARY = RUN / "evaluation-test-importance-10.json"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run of the quickstart, two epochs long."""
    folder = tmp_path_factory.mktemp("trained")
    quick = ["--trainer.max_epochs", "2", "--trainer.log_every_n_steps", "5", "--trainer.enable_model_summary", "false"]
    assert main(["fit", "-c", QUICKSTART, *quick, "--trainer.default_root_dir", str(folder / "runs")]) == 0
    return folder / RUN


@pytest.fixture
def run(trained, workdir):
    """The run, in the folder of runs below the current one."""
    shutil.copytree(trained, RUN)
    return RUN


def everything(folder="runs"):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


COMMANDS = [["sample", RUN], ["plot", "samples", RUN], ["test", RUN], EVALUATE, ["fit", "--ckpt_path", BEST]]
WEIGHTS = {
    "nan": (lambda weights: weights.fill_(torch.nan), "holds weights that are not finite: model.decoder"),
    "infinite": (lambda weights: weights.mul_(torch.inf), "holds weights that are not finite"),
    "whole numbers": (lambda weights: weights.to(torch.int32), "are torch.int32; expected torch.float32"),
    "complex": (lambda weights: weights.to(torch.complex64), "are torch.complex64; expected torch.float32"),
    "shape": (lambda weights: weights[:3], "its weights do not fit its settings"),
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights_that_are_none_get_one_line(kind, run, cli):
    change, message = WEIGHTS[kind]
    with changed(BEST) as saved:
        saved["state_dict"]["model.decoder.head.bias"] = change(saved["state_dict"]["model.decoder.head.bias"] + 1)
    before = everything()
    for command in COMMANDS:
        code, _, error = cli(*command)
        assert_one_line(code, error, message.partition(": model")[0])
    assert everything() == before


def test_a_flipped_bit_is_seen(run, cli):
    content = torch.load(BEST, weights_only=True)
    weights = content["state_dict"]["model.decoder.head.bias"].view(torch.int32)
    weights[7] ^= 1
    torch.save(content, BEST)
    for command in COMMANDS:
        code, _, error = cli(*command)
        assert_one_line(code, error, "best.ckpt is damaged: changed since it was written: state_dict")


@pytest.mark.parametrize(
    "part", ["hyper_parameters", "state_dict", "epoch", "loops", "optimizer_states", "model", "task"]
)
def test_a_checkpoint_with_other_content_gets_one_line(part, run, cli):
    content = torch.load(BEST, weights_only=True)
    for value in (None, {}, [], "x", -1):
        torch.save(content | {part: value}, BEST)
        for command in COMMANDS[::2]:
            code, _, error = cli(*command)
            assert_one_line(code, error, "best.ckpt is (damaged|not a checkpoint)")


def test_a_folder_in_the_place_of_a_file_is_noticed_before_training(run, cli):
    LAST.unlink()
    LAST.mkdir()
    before = everything()
    code, _, error = cli("fit", "--ckpt_path", run, "--trainer.max_epochs", 3)
    assert_one_line(code, error, "last.ckpt is a folder; expected a file")
    assert everything() == before


CUT = "epoch,step\n0,20\n1,"


@pytest.mark.parametrize("damage", ["", CUT, "epoch,step\nx,1\n", "a,b\n1,2\n", "epoch,step\n1,2,3\n", "\x00\xff\n\n"])
def test_damaged_metrics_are_named(damage, run, cli):
    (run / "metrics.csv").write_bytes(damage.encode("latin-1"))
    before = everything()
    for command in (["plot", "learning", run], ["fit", "--ckpt_path", run, "--trainer.max_epochs", 3]):
        code, _, error = cli(*command)
        assert_one_line(code, error, "metrics.csv is damaged")
        assert everything() == before


@pytest.mark.parametrize("damage", ["", "epoch,step\nx,1\n", "a,b\n1,2\n", "\x00\xff\n\n"])
def test_damaged_steps_are_named_before_anything_is_changed(damage, run, cli):
    (run / "steps.csv").write_bytes(damage.encode("latin-1"))
    before = everything()
    code, _, error = cli("fit", "--ckpt_path", run, "--trainer.max_epochs", 3)
    assert_one_line(code, error, "steps.csv is damaged")
    assert everything() == before


def test_a_file_of_another_kind_gets_one_line(run, cli, recwarn):
    Path("bare.ckpt").write_bytes(pickle.dumps({"state_dict": {}}))
    code, _, error = cli("sample", "bare.ckpt")
    assert_one_line(code, error, "bare.ckpt is not a checkpoint of nfvae")
    assert not [each for each in recwarn if "ckpt" in str(each.message) or "pickle" in str(each.message)]


def test_a_half_written_last_line_is_no_damage(run, cli):
    with (run / "steps.csv").open("a") as file:
        file.write("1,2")
    assert cli("fit", "--ckpt_path", run, "--trainer.max_epochs", 3)[0] == 0
    assert [int(row["step"]) for row in rows(name="steps")] == list(range(5, 61, 5))


def evaluated(cli):
    code, out, error = cli(*EVALUATE)
    assert code == 0, error
    return json.loads(SUMMARY.read_text())["nll"], SUMMARY.with_suffix(".csv").read_text(), out


DAMAGES = {
    "summary": lambda: SUMMARY.write_text(SUMMARY.read_text().replace('"nll": 2', '"nll": 1')),
    "cut summary": lambda: SUMMARY.write_text(SUMMARY.read_text()[:100]),
    "values": lambda: SUMMARY.with_suffix(".csv").write_text("index,log_likelihood\n0,-1.0\n"),
}


@pytest.mark.parametrize("damage", first(DAMAGES))
def test_a_damaged_evaluation_is_refused_by_compare_and_made_again_by_evaluate(damage, run, cli):
    nll, values, _ = evaluated(cli)
    DAMAGES[damage]()
    code, _, error = cli("compare", run, "--samples", 10)
    assert_one_line(code, error, f"{SUMMARY.stem}.*damaged: nfvae evaluate {run} --samples 10")
    again, same_values, out = evaluated(cli)
    assert (again, same_values) == (nll, values)
    assert "damaged: evaluating again" in out
    assert cli("compare", run, "--samples", 10)[0] == 0


@pytest.mark.parametrize(
    "text", ["[" * 50_000, '{"a":' * 50_000, '{"a":' * 300 + "1" + "}" * 300, '{"nll": 1, "nll": 2}']
)
def test_a_summary_that_is_nested_or_says_a_thing_twice_is_damaged(text, run, cli):
    SUMMARY.write_text(text)
    for command in (["compare", run, "--samples", 10], ["export", run, "--to", "small"]):
        code, _, error = cli(*command)
        assert_one_line(code, error, f"{SUMMARY.stem}.*damaged")
    assert "damaged: evaluating again" in evaluated(cli)[2]


@pytest.mark.parametrize("ending", [".json", ".csv", ".png"])
def test_a_folder_in_the_place_of_an_evaluations_file_is_noticed_before_the_work(ending, run, cli, monkeypatch):
    monkeypatch.setattr("nfvae.runs.evaluation.LikelihoodChunks.predict_step", None)
    SUMMARY.with_suffix(ending).mkdir()
    code, _, error = cli(*EVALUATE)
    assert_one_line(code, error, f"{SUMMARY.with_suffix(ending)} is a folder; expected a file")


def test_missing_values_are_made_again_by_evaluate_and_missed_by_pairs_alone(run, cli):
    nll, values, _ = evaluated(cli)
    SUMMARY.with_suffix(".csv").unlink()
    assert cli("compare", run, "--samples", 10)[0] == 0
    again, same_values, out = evaluated(cli)
    assert (again, same_values) == (nll, values)
    assert f"{SUMMARY.name.removesuffix('.json')}.csv is missing: evaluating again" in out


def test_a_missing_figure_is_drawn_without_evaluating_again(run, cli, monkeypatch):
    evaluated(cli)
    figure = SUMMARY.with_suffix(".png").read_bytes()
    SUMMARY.with_suffix(".png").unlink()
    monkeypatch.setattr("nfvae.runs.evaluation.LikelihoodChunks.predict_step", None)
    evaluated(cli)
    assert len(SUMMARY.with_suffix(".png").read_bytes()) == pytest.approx(len(figure), rel=0.01)


def test_a_part_that_is_cut_or_anothers_is_made_again(run, cli):
    evaluated(cli)
    expected = SUMMARY.with_suffix(".csv").read_text()
    for damage in ("cut", "half", "of another"):
        SUMMARY.unlink()
        parts = SUMMARY.with_suffix(".partial")
        parts.mkdir()
        first = parts / "0.pt"
        estimate = [torch.zeros(100, dtype=torch.float64)] * 9
        if damage == "cut":
            first.write_bytes(b"PK")
        elif damage == "half":
            torch.save({"estimate": [value[:50] for value in estimate], "seconds": 1.0}, first)
        else:
            torch.save({"identity": {"seed": 1}, "first": 0, "estimate": estimate, "seconds": 1.0, "digest": ""}, first)
        evaluated(cli)
        assert SUMMARY.with_suffix(".csv").read_text() == expected
        assert not parts.exists()


@pytest.mark.parametrize(
    "change", first(["fewer", "more", "short", "text", "a field less", "no seconds", "odd seconds"])
)
def test_a_part_that_was_changed_and_sealed_is_made_again(change, run, cli, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("nfvae.runs.evaluation.Evaluation.settle", lambda self: None)
        evaluated(cli)
    expected = SUMMARY.with_suffix(".csv").read_text()
    first = SUMMARY.with_suffix(".partial") / "0.pt"
    part = torch.load(first, weights_only=True)
    part.pop("digest")
    estimate = part["estimate"]
    part |= {
        "fewer": {"estimate": [value[:1] for value in estimate]},
        "more": {"estimate": [torch.cat([value, value]) for value in estimate]},
        "short": {"estimate": [estimate[0][:1], *estimate[1:]]},
        "text": {"estimate": "x"},
        "a field less": {"estimate": estimate[:-1]},
        "no seconds": {},
        "odd seconds": {"seconds": "x"},
    }[change]
    if change == "no seconds":
        del part["seconds"]
    torch.save(part | {"digest": content_digest(part)}, first)
    SUMMARY.unlink()
    evaluated(cli)
    assert SUMMARY.with_suffix(".csv").read_text() == expected


FOREIGN = {
    "a pickle": lambda: Path("x.ckpt").write_bytes(pickle.dumps({"a": 1})),
    "TorchScript": lambda: torch.jit.script(torch.nn.Linear(1, 1)).save("x.ckpt"),
    "sparse weights": lambda: torch.save({"state_dict": {"a": torch.zeros(2, 2).to_sparse_csr()}}, "x.ckpt"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_of_another_kind_gets_one_line_and_no_advice(kind, cli):
    with warnings.catch_warnings(action="ignore"):
        FOREIGN[kind]()
    with warnings.catch_warnings(action="error"):
        code, _, error = cli("sample", "x.ckpt")
    assert_one_line(code, error, "x.ckpt is not a checkpoint of nfvae, or is damaged")


def test_two_processes_do_not_write_the_same(run, cli):
    me = f"process {os.getpid()} on "
    with locked(run, "trained"):
        before = everything()
        for command in (["fit", "--ckpt_path", run], ["fit", "-c", QUICKSTART, "--overwrite", "true"]):
            code, _, error = cli(*command)
            assert_one_line(code, error, f"{run} is being trained by {me}")
        assert everything() == before
    with locked(SUMMARY, "computed"):
        code, _, error = cli(*EVALUATE)
        assert_one_line(code, error, f"{SUMMARY} is being computed by {me}")
        assert cli(*EVALUATE, "--seed", 1)[0] == 0
    assert cli("fit", "--ckpt_path", run, "--trainer.max_epochs", 3)[0] == 0


def test_a_lock_ends_with_its_process(workdir, cli):
    with in_the_background("fit", "-c", QUICKSTART) as process:
        deadline = time.monotonic() + 120
        while not LAST.is_file() and time.monotonic() < deadline:
            time.sleep(0.01)
        code, _, error = cli("fit", "-c", QUICKSTART)
        assert_one_line(code, error, f"is being trained by process {process.pid} on ")
        process.kill()
    epochs = torch.load(LAST, weights_only=True)["epoch"] + 2
    code, _, error = cli("fit", "--ckpt_path", RUN, "--trainer.max_epochs", epochs)
    assert code == 0, error
    assert not list(Path("runs").glob(".*.lock"))


def rate_of(checkpoint):
    (state,) = torch.load(checkpoint, weights_only=True)["optimizer_states"]
    return state["param_groups"][0]["lr"]


@pytest.mark.parametrize("schedule", ["constant", "multistep"])
def test_another_learning_rate_is_gone_on_with(schedule, fit, cli):
    milestones = ["--model.milestones", "[1]"] if schedule == "multistep" else []
    assert fit("--model.schedule", schedule, *milestones)[0] == 0
    before = rate_of(LAST)
    code, _, error = cli("fit", "--ckpt_path", RUN, "--model.lr", 0.02, "--trainer.max_epochs", 3)
    assert code == 0, error
    assert rate_of(LAST) == pytest.approx(before * 10)
    assert Run(LAST).settings["lr"] == 0.02


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--model.optimizer", "adamax"], "the checkpoint has optimizer 'adam' where the model has 'adamax'"),
        (["--model.schedule", "constant"], "the checkpoint has schedule 'cosine' where the model has 'constant'"),
        (["--seed_everything", 3], "a resumed training keeps its seed_everything, 0; got 3"),
        (["--data.binarization", "dynamic"], "a resumed training keeps its data.binarization, threshold; got dyn"),
        (["--model.depth", 1], "the checkpoint has depth 4 where the model has 1"),
        (["--model.lr", 0], "lr must be above 0; got 0"),
        (["--trainer.max_epochs", "x"], "trainer.max_epochs takes int or null; got 'x'"),
    ],
)
def test_a_refused_resume_changes_nothing(change, message, run, cli):
    before = everything()
    code, _, error = cli("fit", "--ckpt_path", run, *change)
    assert_one_line(code, error, message)
    assert everything() == before


def test_a_run_between_its_first_two_checkpoints_is_resumed_from_the_one_there_is(run, fit, cli):
    LAST.unlink()
    code, _, error = fit()
    assert_one_line(code, error, f"resume it with --ckpt_path {run}, ")
    assert cli("fit", "--ckpt_path", run, "--trainer.max_epochs", 3)[0] == 0
    assert [epoch for epoch, _ in curve(RUN, "val/elbo")] == [0, 1, 2]


def test_results_of_the_test_loop_are_kept(run, cli):
    assert cli("test", run)[0] == 0
    assert cli("validate", run)[0] == 0
    found = json.loads((run / "test.json").read_text())
    assert found["model_sha256"] == Run(run).digest()
    assert found["test/elbo"] < -found["test/nll"] < 0
    assert json.loads((run / "validate.json").read_text())["val/elbo"] < 0


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ["compare", RUN, "--samples", 10, "--html", RUN / "config.yaml"],
            r"--html should name a file that ends in \.html",
        ),
        (["compare", RUN, "--samples", 10, "--html", "."], r"--html should name a file that ends in \.html"),
        (["sample", RUN, "--output", RUN / "config.yaml"], "--output should name a file that ends in .png"),
        (["sample", RUN, "--count", 10**11], "--count must be at most 10,000; got 100000000000"),
        (["validate", RUN, "--ckpt_path", BEST], "nfvae validate takes one run; got"),
        (["predict", RUN, "--trainer.limit_predict_batches", 0], "no batch to predict"),
        ([*EVALUATE, "--trainer.devices", "foo"], "trainer: "),
        (["plot", "posterior", RUN], "has 16 latents; contours are drawn of two"),
    ],
)
def test_what_would_write_over_a_run_or_fail_late_gets_one_line(command, message, run, cli):
    before = everything()
    code, _, error = cli(*command)
    assert_one_line(code, error, message)
    assert everything() == before


def test_later_pictures_leave_those_of_the_training_alone(run, cli):
    before = (run / "samples.png").read_bytes()
    for command in (["plot", "samples", run, "--seed", 3], ["sample", run], ["plot", "reconstructions", run]):
        assert cli(*command)[0] == 0
    assert (run / "samples.png").read_bytes() == before
    assert {path.name for path in (run / "plots").iterdir()} == {"samples.png", "samples-64.png", "reconstructions.png"}


def test_a_failed_start_leaves_no_folder_and_puts_back_the_run_it_was_to_replace(run, cli):
    before = everything()
    code, _, error = cli("fit", "-c", QUICKSTART, "--overwrite", "true", "--trainer.precision", "16-true")
    assert_one_line(code, error, "precision 16-true keeps weights and densities in 16 bits")
    assert everything() == before
    shutil.rmtree(run)
    assert cli("fit", "-c", QUICKSTART, "--trainer.precision", "bf16-true")[0] == 2
    assert not list(Path("runs").iterdir())


@pytest.mark.parametrize("value", ["33", [1.0], {"a": 1}, True])
@pytest.mark.parametrize("name", ["nll", "elbo", "images"])
def test_an_evaluation_with_odd_values_sealed_anew_counts_as_damaged(name, value, tmp_path):
    summary = {"dataset": "digits", "images": 5, "nll": 1.0, "elbo": -2.0, "k_curve": {"1": None, "5": -1.0}}
    path = tmp_path / "evaluation-test-importance-5.json"
    for changed_summary, fits in ((summary, True), (summary | {name: value}, False)):
        path.write_text(json.dumps(changed_summary | {"digest": content_digest(changed_summary)}))
        if fits:
            assert read_evaluation(path) == summary
        else:
            with pytest.raises(ValueError, match=f"is damaged: {name} cannot be"):
                read_evaluation(path)
