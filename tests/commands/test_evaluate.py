"""nfvae evaluate: what it writes, that it survives interruptions, and that every number agrees with one by hand."""

import csv
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from nfvae.__main__ import main
from nfvae.estimators import Estimate, annealed_log_likelihood, log_likelihood
from nfvae.models import DataSpec
from nfvae.runs import Run
from nfvae.runs.estimators.gap import Gap
from nfvae.runs.estimators.importance import Importance
from nfvae.runs.evaluation import LikelihoodChunks
from tests.commands.test_fit import assert_one_line, curve
from tests.conftest import QUICKSTART, in_the_background
from tests.helpers.checkpoints import changed
from tests.helpers.sweeps import exhaustive, first

RUN = Path("runs/digits-iaf-4-seed0")
KEYS = {
    "images", "samples", "seed", "binarization", "elbo", "elbo_se", "nll", "nll_se", "nll_mc_se", "gap", "kl",
    "bits_per_dim", "active_units", "ess_median", "ess_p05", "khat_above_0_7", "k_curve", "seconds",
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run of the quickstart, some epochs long."""
    folder = tmp_path_factory.mktemp("trained")
    quick = ["--trainer.max_epochs", "5", "--trainer.default_root_dir", str(folder / "runs")]
    assert main(["fit", "-c", QUICKSTART, *quick]) == 0
    return folder / RUN


@pytest.fixture
def run(trained, workdir):
    shutil.copytree(trained, RUN)
    return RUN


@pytest.fixture(autouse=True)
def _precision():
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


def evaluation(name, run=RUN):
    """The summary, and the values of every image by column."""
    with (run / f"evaluation-{name}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {key: [float(row[key]) for row in rows] for key in rows[0]}
    return json.loads((run / f"evaluation-{name}.json").read_text()), columns


def by_hand(run, samples, split="test", **options):
    loaded = Run(run)
    x = loaded.data().rows(split).float()
    return log_likelihood(loaded.vae(), x, samples, **{"proposal": "mixture", **options})


def test_an_evaluation_writes_what_it_found(run, cli):
    code, out, error = cli("evaluate", run, "--samples", 250)
    assert code == 0, error
    summary, columns = evaluation("test-importance-250")
    assert set(summary) >= KEYS
    assert (summary["images"], summary["samples"], summary["seed"]) == (256, 250, 0)
    assert summary["binarization"] == "threshold"
    assert list(columns) == [
        "index",
        *("log_likelihood", "elbo", "se", "ess", "khat"),
        *(f"bound_{k}" for k in (1, 10, 100, 250)),
    ]
    assert columns["index"] == list(range(256))
    estimate = by_hand(run, 250)
    for name, field in (("log_likelihood", 0), ("elbo", 1), ("se", 3), ("ess", 4), ("khat", 5)):
        torch.testing.assert_close(torch.tensor(columns[name]), estimate[field].float(), rtol=1e-4, atol=1e-4)
    assert summary["nll"] == pytest.approx(-estimate.log_likelihood.mean().item(), abs=1e-4)
    assert summary["gap"] == pytest.approx(-summary["elbo"] - summary["nll"], abs=1e-5)
    assert summary["gap"] > 0
    assert list(summary["k_curve"]) == ["1", "10", "100", "250"]
    assert summary["k_curve"]["1"] < summary["elbo"], "a sample of the mixture bounds less than one of the posterior"
    assert summary["k_curve"]["250"] == -summary["nll"]
    assert summary["bits_per_dim"] == pytest.approx(summary["nll"] / 64 / math.log(2), abs=1e-5)
    assert 0 < summary["active_units"] <= 16
    assert (run / "evaluation-test-importance-250.png").read_bytes().startswith(b"\x89PNG")
    assert not list(run.glob("*.partial"))
    assert f"{summary['nll']:.2f}" in out
    assert "k̂ > 0.7" in out


def test_the_table_has_a_line_for_each_run(run, cli):
    shutil.copytree(run, "runs/other")
    code, out, error = cli("evaluate", run, "runs/other", run, "--samples", 10, "--limit", 20)
    assert code == 0, error
    assert "test set of digits, threshold binarization, 20 images, nats per image" in " ".join(out.split())
    blocks = out[out.index("in every row: ") :].split("\n\n")
    for block in blocks[1:]:
        assert len([line for line in block.splitlines() if line.startswith("| runs/")]) == 2
    assert (
        max(len(line) for block in blocks for line in block.splitlines()) <= 101
    )  # the hat of k̂ is a character of its own
    assert json.loads(Path("runs/other/evaluation-test-importance-10-first20.json").read_text())["images"] == 20


def test_one_image_and_one_sample_leave_unsaid_what_they_cannot_say(run, cli):
    code, out, error = cli("evaluate", run, "--samples", 1, "--limit", 1)
    assert code == 0, error
    summary, _ = evaluation("test-importance-1-first1")
    unsaid = {"elbo_se", "nll_se", "nll_mc_se", "active_units", "khat_above_0_7", "given"}
    assert {key for key, value in summary.items() if value is None} == unsaid
    assert summary["nll"] == -summary["elbo"], "a single sample is of the posterior itself"
    assert "the accuracy of these NLLs is unknown" in " ".join(out.split())


@exhaustive
def test_a_finished_evaluation_answers_until_something_differs(run, cli, monkeypatch):
    computed = []
    step = LikelihoodChunks.predict_step
    monkeypatch.setattr(LikelihoodChunks, "predict_step", lambda *a: computed.append(len(a[1])) or step(*a))

    def images(*arguments):
        computed.clear()
        assert cli("evaluate", run, "--samples", 10, *arguments)[0] == 0
        return sum(computed)

    others = [["--seed", 1], ["--split", "val"], ["--data.binarization", "static"], ["--matmul_precision", "high"]]
    assert images() == 256
    assert images("--seed", 1, "--limit", 7) == 7
    assert [images(*other) for other in others] == [256] * 4
    assert images() == 0, "none of the others took its place"
    assert [images(*other) for other in others] == [0] * 4
    with changed(run / "checkpoints/best.ckpt") as saved:
        next(iter(saved["state_dict"].values())).add_(1e-6)
    assert images() == 256


ANNEALED = ["--estimator", "annealed", "--chains", "3", "--temperatures", "12"]


def test_annealed_importance_sampling_writes_what_it_found(run, cli):
    code, out, error = cli("evaluate", run, *ANNEALED, "--limit", 50)
    assert code == 0, error
    summary, columns = evaluation("test-annealed-3x12-first50")
    loaded = Run(run)
    x = loaded.data().rows("test")[:50].float()
    estimate = annealed_log_likelihood(loaded.vae(), x, 3, 12)
    assert columns["log_likelihood"] == pytest.approx(estimate.log_likelihood.tolist())
    assert columns["spread_10"] == columns["spread"] == pytest.approx(estimate.spread.tolist())
    assert columns["beta_10"] == [1] * 50
    assert summary["nll"] == pytest.approx(-estimate.log_likelihood.mean().item(), abs=1e-5)
    assert summary["nll"] < summary["nll_one_chain"] < -summary["elbo"]
    assert summary["likely_off"] == pytest.approx(estimate.spread.square().mean().item() / 6, abs=1e-5)
    assert (summary["estimator"], summary["chains"], summary["temperatures"]) == ("annealed", 3, 12)
    assert "samples" not in summary
    assert "nats too high (est. bias)" in " ".join(out.split())


def test_columns_are_checked_before_and_after_the_work(run, cli):
    code, _, error = cli("evaluate", run, "--limit", 9, "--samples", 30, "--columns", "foo")
    assert (code, "unknown column 'foo'" in error) == (2, True)
    assert not list(run.glob("evaluation-*"))
    code, _, error = cli("evaluate", run, "--limit", 9, "--samples", 30, "--columns", "run", "approximation")
    assert (code, "these evaluations have no approximation" in error) == (2, True)
    code, _, error = cli("evaluate", run, "--limit", 9, "--caption", "a caption")
    assert (code, "--caption is for --format latex" in error) == (2, True)
    code, out, _ = cli("evaluate", run, "--limit", 9, "--samples", 30, "--columns", "run", "nll")
    assert (code, out.count("NLL, nats"), "ELBO" in out) == (0, 1, False)


def test_two_estimators_stand_side_by_side(run, cli):
    code, out, error = cli("evaluate", run, "--estimator", "importance", *ANNEALED[1:], "--samples", 40, "--limit", 9)
    assert code == 0, error
    rows = [line for line in out.splitlines() if line.startswith("| ")]
    assert [line.split("|")[2].strip() for line in rows[:3]] == ["estimator", "importance 40", "annealed 3x12"]
    assert ("k̂ > 0.7" in out) & ("est. bias" in out), "each is judged in its own words"
    assert {path.stem for path in run.glob("evaluation-*.json")} == {
        "evaluation-test-importance-40-first9",
        "evaluation-test-annealed-3x12-first9",
    }


def test_another_checkpoint_than_the_best_is_named(run, cli):
    assert f"| {run}/checkpoints/last.ckpt |" in cli("evaluate", run / "checkpoints/last.ckpt", "--limit", 9)[1]


def test_a_sandwich_is_made_of_images_of_the_model(run, cli):
    code, out, error = cli("evaluate", run, "--estimator", "sandwich", "--images", 30, "--temperatures", 100)
    assert code == 0, error
    summary, columns = evaluation("simulated-sandwich-4x100-first30")
    between = torch.tensor(columns["upper"]) - torch.tensor(columns["log_likelihood"])
    assert summary["bracket"] == pytest.approx(between.mean().item(), abs=1e-5)
    assert summary["bracket"] == pytest.approx(summary["nll"] - summary["nll_least"], abs=1e-5)
    assert abs(summary["bracket"]) < 4 * summary["bracket_se"] + 0.1
    assert "between two bounds" in " ".join(out.split())


def test_the_gaps_add_up(run, cli, monkeypatch):
    for name, short in {"_MOST_ROUNDS": 1, "_STEPS": 50}.items():
        monkeypatch.setattr(f"nfvae.estimators.gaps.{name}", short)
    code, out, error = cli("gap", run, "--limit", 5, "--budget", "small")
    assert code == 0, error
    summary, columns = evaluation("test-gap-4x50-first5")
    assert summary["approximation"] + summary["amortization"] == pytest.approx(summary["gap"], abs=1e-5)
    assert summary["amortization"] > 0
    assert summary["gap"] == pytest.approx(-summary["elbo"] - summary["nll"], abs=1e-5)
    assert len(columns["best_start"]) == 5
    said = " ".join(out.split())
    assert said.index("plots/gap.png") < said.index("(amortization), the posterior"), "the verdict is last"
    assert (run / "plots/gap.png").is_file()
    assert cli("gap", run, "--limit", 5, "--budget", "small", "--free", "context")[0] == 0
    other, _ = evaluation("test-gap-4x50-context-first5")
    assert (other["free"], summary["free"]) == ("context", "layers")
    assert other["nll"] == summary["nll"]
    assert other["elbo"] == pytest.approx(summary["elbo"])
    assert other["elbo_best"] != summary["elbo_best"]


def test_a_gap_says_what_pays_where_the_images_do():
    def parts(approximation, amortization, error=0.2):
        gap = {"approximation": approximation, "amortization": amortization, "gap": approximation + amortization}
        return gap | {"approximation_se": 0.1, "amortization_se": error}

    encoder, flow = parts(0.5, 1.0), parts(1.0, 0.5)
    undecided = "these images are too few to tell which part is larger."
    assert Gap.verdict([encoder]).endswith("a better encoder would gain more.")
    assert Gap.verdict([flow, flow]).endswith("a better family of flows would gain more.")
    assert Gap.verdict([encoder, flow]).endswith("the larger part differs between the runs.")
    assert Gap.verdict([parts(0.7, 1.0)]).endswith(undecided)
    assert Gap.verdict([parts(0.5, 1.0, error=None)]).endswith(undecided)


@exhaustive
def test_a_kill_and_two_processes_change_no_digit_of_an_annealed_evaluation(run, cli):
    command = ["evaluate", str(run), "--split", "train", *ANNEALED]
    partial = run / "evaluation-train-annealed-3x12.partial"
    with in_the_background(*command) as process:
        deadline = time.monotonic() + 120
        while not (done := list(partial.glob("*.pt"))) and time.monotonic() < deadline:
            time.sleep(0.005)
        process.kill()
    assert 1 <= len(done) < 4
    assert cli(*command)[0] == 0
    resumed = (run / "evaluation-train-annealed-3x12.csv").read_bytes()
    for path in run.glob("evaluation-train-annealed-3x12.*"):
        path.unlink()
    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu"]
    shared = subprocess.run(
        [sys.executable, "-m", "nfvae", *command, *two], capture_output=True, text=True, timeout=240
    )
    assert shared.returncode == 0, shared.stderr[-2000:]
    assert (run / "evaluation-train-annealed-3x12.csv").read_bytes() == resumed
    by_one = annealed_log_likelihood(Run(run).vae(), Run(run).data().rows("train").float(), 3, 12)
    assert evaluation("train-annealed-3x12")[1]["log_likelihood"] == pytest.approx(by_one.log_likelihood.tolist())


STOPS = {signal.SIGINT: 130, signal.SIGKILL: -9, signal.SIGTERM: 143}


@pytest.mark.parametrize("stop", first(STOPS))
def test_an_interrupted_evaluation_goes_on_and_ends_with_the_same_values(stop, run, cli, monkeypatch):
    shutil.copytree(run, "runs/whole")
    assert cli("evaluate", "runs/whole", "--samples", 1500)[0] == 0
    partial = run / "evaluation-test-importance-1500.partial"
    with in_the_background("evaluate", run, "--samples", 1500) as process:
        deadline = time.monotonic() + 120
        while not (done := list(partial.glob("*.pt"))) and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(process.pid, stop)
        process.join(60)
        assert process.exitcode == STOPS[stop]
    assert len(done) == 1
    assert not (run / "evaluation-test-importance-1500.json").exists()
    text = Path("out.txt").read_text()
    assert "Traceback" not in text
    assert (stop != signal.SIGKILL) == ("repeat the command to resume" in text)
    left = []
    step = LikelihoodChunks.predict_step
    monkeypatch.setattr(LikelihoodChunks, "predict_step", lambda *a: left.append(len(a[1])) or step(*a))
    assert cli("evaluate", run, "--samples", 1500)[0] == 0
    assert sum(left) <= 156
    assert_same_values(evaluation("test-importance-1500"), evaluation("test-importance-1500", Path("runs/whole")))


def assert_same_values(one, other):
    (summary, columns), (expected_summary, expected) = one, other
    for key in expected:
        assert columns[key] == pytest.approx(expected[key], abs=1e-5), key
    for key in KEYS - {"seconds", "k_curve", "binarization"}:
        assert summary[key] == pytest.approx(expected_summary[key], abs=1e-5), key


@exhaustive
def test_two_processes_agree_with_one(run, cli):
    shutil.copytree(run, "runs/alone")
    shutil.copytree(run, "runs/next")
    assert cli("evaluate", "runs/alone", "--samples", 1100)[0] == 0
    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu"]
    command = [sys.executable, "-m", "nfvae", "evaluate", str(run), "runs/next", "--samples", "1100", *two]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Starting with 2 processes" in done.stdout + done.stderr
    assert len(re.findall(r"written: ", done.stdout)) == 2
    for folder in (RUN, Path("runs/next")):
        assert_same_values(
            evaluation("test-importance-1100", folder), evaluation("test-importance-1100", Path("runs/alone"))
        )


@exhaustive
def test_more_processes_than_parts(run):
    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu", "--limit", "30"]
    command = [sys.executable, "-m", "nfvae", "evaluate", str(run), "--samples", "50", *two]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert evaluation("test-importance-50-first30")[0]["images"] == 30


def test_parts_of_another_evaluation_are_not_taken_over(run, cli):
    partial = run / "evaluation-test-importance-10.partial"
    partial.mkdir()
    (partial / "identity.json").write_text('{"seed": 3}')
    (partial / "0.pt").write_bytes(b"of another seed")
    assert cli("evaluate", run, "--samples", 10)[0] == 0
    assert evaluation("test-importance-10")[0]["nll"] == pytest.approx(
        -by_hand(run, 10).log_likelihood.mean().item(), abs=1e-4
    )


def test_a_broken_file_of_an_earlier_evaluation_is_replaced(run, cli):
    (run / "evaluation-test-importance-10.json").write_text('{"nll": ')
    assert cli("evaluate", run, "--samples", 10)[0] == 0
    assert evaluation("test-importance-10")[0]["images"] == 256


@pytest.mark.parametrize("split", ["train", "val"])
def test_other_splits_have_their_own_files(split, run, cli):
    assert cli("evaluate", run, "--samples", 5, "--split", split)[0] == 0
    summary, columns = evaluation(f"{split}-importance-5")
    assert summary["images"] == len(columns["elbo"]) == {"train": 1285, "val": 256}[split]


def test_grey_training_images_are_binarized_once(run):
    images = Run(run).data(binarization="dynamic").rows("train")
    assert images.unique().tolist() == [0, 1]
    assert torch.equal(images, Run(run).data(binarization="dynamic").rows("train"))


def test_the_test_loop_reports_the_same_likelihood(run, cli):
    assert cli("evaluate", run, "--samples", 40, "--proposal", "posterior")[0] == 0
    batches = ["--data.eval_batch_size", 100]
    code, out, error = cli("test", "--ckpt_path", run / "checkpoints/best.ckpt", "--model.test_samples", 40, *batches)
    assert code == 0, error
    reported = json.loads((run / "test.json").read_text())["test/nll"]
    assert f"| test/nll | {reported:,.3f} |" in " ".join(out.split())
    assert reported == pytest.approx(evaluation("test-importance-40-posterior")[0]["nll"], abs=1e-4)


def test_validation_reports_a_likelihood_where_asked(fit):
    assert fit("--model.val_samples", 20, "--name", "with")[0] == 0
    assert fit("--name", "without")[0] == 0
    bound, elbo = (dict(curve(Path("runs/with"), f"val/{key}")) for key in ("nll", "elbo"))
    assert list(bound) == [0, 1]
    assert all(0 < bound[epoch] < -elbo[epoch] for epoch in bound)
    assert not curve(Path("runs/without"), "val/nll")
    assert curve(Path("runs/with"), "val/elbo") == curve(Path("runs/without"), "val/elbo")


def some_estimate(means, **values):
    count = len(means)
    numbers = dict.fromkeys(Estimate._fields, torch.zeros(count, dtype=torch.float64))
    curve = torch.stack([torch.arange(count), torch.arange(count) + 1.0], -1).double()
    variance = torch.full_like(means, 0.5)
    return Estimate(**numbers | {"k_curve": curve, "posterior_mean": means, "posterior_variance": variance} | values)


def summarize(estimate, pixels):
    """Sum up 10 samples of the posterior."""
    return Importance(10, "posterior").summary(estimate, DataSpec((pixels,)))


def test_active_units_are_free_of_monte_carlo_noise():
    means = torch.randn(4000, 3, dtype=torch.float64) * torch.tensor([1.0, 0.07, 0.05]).sqrt()
    estimate = some_estimate(means)
    assert summarize(estimate, 64)["active_units"] == 2  # the third varies by its noise alone
    exact = estimate._replace(posterior_variance=torch.zeros(1, 3))
    assert summarize(exact, 64)["active_units"] == 3


def test_standard_errors_of_the_mean():
    bounds = torch.tensor([-80.0, -90.0, -100.0], dtype=torch.float64)
    errors = torch.tensor([0.3, 0.4, 1.2], dtype=torch.float64)
    estimate = some_estimate(torch.zeros(3, 2).double(), log_likelihood=bounds, elbo=bounds - 4, standard_error=errors)
    summary = summarize(estimate, 100)
    assert summary["nll"] == 90
    assert summary["nll_se"] == summary["elbo_se"] == pytest.approx(10 / 3**0.5, abs=1e-6)
    assert summary["nll_mc_se"] == pytest.approx(1.3 / 3, abs=1e-6)
    assert summary["gap"] == 4
    assert summary["k_curve"] == {"1": 1, "10": 2}
    khat = torch.tensor([0.7, 0.71, 2.0], dtype=torch.float64)
    assert summarize(estimate._replace(khat=khat), 100)["khat_above_0_7"] == pytest.approx(2 / 3, abs=1e-6)


MISTAKES = {
    "run": (["runs/none"], "there is no run runs/none"),
    "second run": ([str(RUN), "runs/none"], "there is no run runs/none"),
    "samples": ([str(RUN), "--samples", "0"], "samples must be at least 1; got 0"),
    "limit": ([str(RUN), "--limit", "0"], "limit must be at least 1; got 0"),
    "images": ([str(RUN), "--estimator", "sandwich", "--images", "0"], "limit must be at least 1; got 0"),
    "chains": ([str(RUN), "--estimator", "annealed", "--chains", "0"], "chains must be at least 1; got 0"),
    "temperatures": ([str(RUN), "--estimator", "annealed", "--temperatures", "-1"], "temperatures must be at least 1"),
    "estimator": ([str(RUN), "--estimator", "gap"], "unknown estimator 'gap'; known .*importance, annealed, sandwich"),
    "no command": ([str(RUN), "--free", "context"], "unrecognized arguments: --free"),
    "budget": ([str(RUN), "--budget", "huge"], "unknown budget 'huge'; known budgets: small, default, large"),
    "proposal": ([str(RUN), "--proposal", "wide"], "unknown proposal 'wide'; known proposals: posterior, mixture"),
    "simulated": ([str(RUN), "--estimator", "sandwich", "--split", "val"], "it takes no --split"),
    "split": ([str(RUN), "--split", "tset"], "unknown split 'tset'; known splits: train, val, test"),
    "shape": (
        [str(RUN), "--data.dataset", "mnist"],
        r"run runs/digits-iaf-4-seed0 models images of shape \[8, 8\]; those of mnist have \[28, 28\]",
    ),
    "dataset": ([str(RUN), "--data.dataset", "mnits"], "unknown dataset 'mnits'"),
    "precision": ([str(RUN), "--matmul_precision", "low"], "invalid choice: 'low'"),
    "no run": ([], "the following arguments are required: RUN"),
    "type": ([str(RUN), "--samples", "many"], "invalid int value: 'many'"),
    "device": ([str(RUN), "--trainer.accelerator", "abacus"], "abacus"),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_gets_one_line_and_exit_code_2(arguments, message, run, cli):
    before = sorted(Path("runs").rglob("*"))
    code, _, error = cli("evaluate", *arguments)
    assert_one_line(code, error, message)
    assert sorted(Path("runs").rglob("*")) == before


def test_a_run_without_a_checkpoint_gets_one_line(run, cli):
    (run / "checkpoints/best.ckpt").unlink()
    code, _, error = cli("evaluate", run)
    assert_one_line(code, error, "run runs/digits-iaf-4-seed0 has no best.ckpt, which a validation makes; name")


def test_a_damaged_checkpoint_gets_one_line(run, cli):
    (run / "checkpoints/best.ckpt").write_bytes(b"garbage")
    code, _, error = cli("evaluate", run)
    assert_one_line(code, error, "best.ckpt is not a checkpoint of nfvae, or is damaged")


def test_a_likelihood_that_is_not_finite_exits_with_1(run, cli):
    with changed(run / "checkpoints/best.ckpt") as saved:
        saved["state_dict"]["model.decoder.head.bias"][3:5] = -3e38
    code, _, error = cli("evaluate", run, "--samples", 10)
    assert code == 1
    assert "nfvae: error: the log-likelihood of image 0 is not finite" in error
    assert "Traceback" not in error


def test_matmul_precision_is_set_where_asked(run, cli):
    assert cli("evaluate", run, "--samples", 2, "--limit", 2, "--matmul_precision", "high")[0] == 0
    assert torch.get_float32_matmul_precision() == "high"
    assert cli("evaluate", run, "--samples", 3, "--limit", 2)[0] == 0
    assert torch.get_float32_matmul_precision() == "highest"


def test_help_explains(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", "--help"])
    assert caught.value.code == 0
    assert "--samples" in capsys.readouterr().out
