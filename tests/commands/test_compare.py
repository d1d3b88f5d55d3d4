"""Runs side by side: pooled over seeds, compared image by image, laid out, trained where missing."""

import contextlib
import csv
import io
import itertools
import json
import math
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
import yaml

from nfvae.__main__ import main
from nfvae.commands.compare import _chosen
from nfvae.runs import Experiment, Result, check_comparable, comparison_table, nll_difference, pool
from nfvae.runs.comparison import sortable, verdict
from nfvae.runs.page import _mean_bounds
from nfvae.runs.tracking import _id_in
from tests.conftest import QUICKSTART
from tests.helpers.checkpoints import changed
from tests.helpers.sweeps import exhaustive

SEEDS = itertools.count()
SETTINGS = {"flow": "iaf", "depth": 4, "lr": 1e-3, "dataset": "digits"}
FIT = ["--fit", "-c", "base.yaml", "--samples", 30, "--limit", 40, "--trainer.enable_progress_bar", "false"]
LIMITED, WANDB = ["--samples", 30, "--limit", 40], ["--wandb", "us/nfvae"]
TOY = str(Path(QUICKSTART).with_name("toy") / "teacher.yaml")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def result(nll=(1.0, 2.0, 3.0), folder="runs/a", **changes):
    values = -torch.tensor(nll, dtype=torch.float64)
    summary = {
        "dataset": "digits", "binarization": "threshold", "split": "test", "images": len(nll), "samples": 30, "seed": 0,
        "estimator": "importance",
        "elbo": float(values.mean()) - 1, "elbo_se": 0.4, "nll": -float(values.mean()), "nll_se": 0.3, "gap": 1.0,
        "ess_median": 5.0, "ess_p05": 2.0, "khat_above_0_7": None, "active_units": 3,
        "k_curve": {"1": -4.0, "30": -3.0}, "parameters": 100, "draw_ms": 10.0,
    }  # fmt: skip
    history = [{"epoch": epoch, "seconds": 2.0, "val/elbo": -5.0 + epoch} for epoch in range(3)]
    summary |= {key: changes.pop(key) for key in list(changes) if key in summary}
    return Result(Path(folder), SETTINGS | changes, next(SEEDS), summary, values, history)


def test_runs_that_differ_in_their_seed_alone_are_one_experiment():
    experiments = pool([result(), result(depth=8), result(folder="runs/b"), result(flow="planar")])
    assert [(each.name, len(each.results)) for each in experiments] == [("iaf-4", 2), ("iaf-8", 1), ("planar-4", 1)]


def test_experiments_of_one_flow_and_depth_are_named_by_what_differs():
    experiments = pool([result(), result(lr=1e-2), result(flow="planar")])
    assert [each.name for each in experiments] == ["iaf-4 lr=0.001", "iaf-4 lr=0.01", "planar-4"]


def test_a_student_is_set_against_students_alone():
    names = [each.name for each in pool([result(prior="normal"), result(teacher="runs/a", target="joint")])]
    assert names == ["iaf-4", "iaf-4 student"]
    names = [each.name for each in pool([result(teacher="runs/a"), result(teacher="runs/b")])]
    assert names == ["iaf-4 student teacher=runs/a", "iaf-4 student teacher=runs/b"]


def test_options_of_what_no_other_experiment_has_go_without_saying():
    flow = {"prior": "flow", "prior_options.depth": 4, "prior_options.flow_options": {"hidden": 8}}
    wide = flow | {"prior_options.flow_options": {"hidden": 9}}
    names = lambda *priors: [each.name for each in pool([result(**each) for each in priors])]  # noqa: E731
    assert names({"prior": "normal"}, flow) == ["iaf-4 prior=normal", "iaf-4 prior=flow"]
    assert names(flow, wide) == ["iaf-4 hidden=8", "iaf-4 hidden=9"]


@pytest.mark.parametrize("name", ["iaf", "iaf-4", "runs/a", "runs/a/", "a"])
def test_an_experiment_is_called_by_its_runs_too(name):
    one, other = pool([result(folder="runs/a"), result(flow="planar", folder="runs/b")])
    assert one.is_called(name)
    assert not other.is_called(name)


def test_a_name_that_several_experiments_have_is_refused():
    experiments = pool([result(prior="normal"), result(prior="flow")])
    with pytest.raises(
        ValueError,
        match="several experiments are called iaf; give one of the names 'iaf-4 prior=normal', 'iaf-4 prior=flow'",
    ):
        _chosen(experiments, "iaf")
    assert _chosen(experiments, "iaf-4 prior=flow") is experiments[1]


def test_runs_of_one_name_in_two_places_are_told_apart():
    one = result(folder="runs/a")
    experiments = pool([one, one._replace(folder=Path("copies/a")), one._replace(folder=Path("runs/b"))])
    assert [each.name for each in experiments] == ["iaf-4 runs/a", "iaf-4 copies/a", "iaf-4 runs/b"]


def test_a_comparison_is_sorted_by_any_of_its_numbers():
    experiments = pool([result((2.0, 3.0)), result((5.0, 6.0), flow="planar"), result((1.0, 2.0), flow="radial")])
    table = comparison_table(experiments, experiments[0], "difference_mean")
    assert [row["flow"] for row in table.rows] == ["radial", "planar", "iaf"]
    shown = comparison_table(experiments, sort="elbo").rows
    assert [row["elbo"] for row in shown] == sorted((row["elbo"] for row in shown), reverse=True), (
        "the least -ELBO first"
    )
    known = {key for row in table.rows for key in row}
    assert known == set(sortable(with_baseline=True))
    with pytest.raises(ValueError, match="unknown column 'difference_mean'"):
        comparison_table(experiments, None, "difference_mean")


def test_the_verdict_names_large_differences_and_unequal_trainings():
    baseline, better = result((2.0, 3.0, 4.0)), result((1.0, 2.0, 3.1), flow="planar")
    same, longer = result((2.1, 2.9, 4.0), flow="radial"), result((2.0, 2.9, 4.1), flow="radial")
    longer = longer._replace(history=longer.history * 2)
    experiments = pool([baseline, better, same, longer])
    differences, words = verdict(experiments, experiments[0])
    assert "over seeds in rows with several seeds, else over images, and over images for the difference." in words
    assert "the seeds of radial-4 had 3 to 6 epochs" in words
    assert "Some rows have one seed" in differences
    assert differences.startswith("NLL compared with iaf-4: lower: planar-4; not clear: radial-4.")
    (words,) = verdict(experiments[:1], None)
    assert "over seeds" not in words
    assert [*comparison_table(experiments).cells()[0][:2]] == ["experiment", "epochs"]
    assert "epochs" not in comparison_table(experiments[:2]).cells()[0]


def test_the_pages_bounds_are_those_of_its_table():
    one, other = result(), result(k_curve={"1": -6.0, "30": -4.0})
    assert _mean_bounds(*pool([one, other])) == {"1": -5.0, "30": -3.5}


def test_runs_of_one_seed_are_no_seeds():
    """Two runs of the same settings and seed differ in something else, and their spread says nothing about seeds."""
    one, other = (result(folder=f"runs/{name}")._replace(seed=3) for name in "ab")
    assert [each.name for each in pool([one, other])] == ["iaf-4 a", "iaf-4 b"]


def test_epochs_tell_runs_of_one_seed_apart():
    short = [result()._replace(seed=seed) for seed in range(2)]
    longer = short[0]._replace(history=short[0].history * 2)
    few, many = len(short[0].history), len(longer.history)
    pooled = {each.name: len(each.results) for each in pool([short[0], longer, short[1]])}
    assert pooled == {f"iaf-4 epochs={few}": 2, f"iaf-4 epochs={many}": 1}


def test_seeds_are_pooled_as_mean_and_standard_error():
    (row,) = comparison_table(pool([result((1.0, 2.0)), result((3.0, 4.0)), result((5.0, 9.0))])).rows
    assert row["nll"] == pytest.approx((1.5 + 3.5 + 7) / 3)
    assert row["nll_se"] == pytest.approx(torch.tensor([1.5, 3.5, 7.0]).std().item() / 3**0.5)
    assert (row["seeds"], row["epochs"], row["training_seconds"], row["draw_ms"]) == (3, 3, 6, 10)
    (alone,) = comparison_table(pool([result()])).rows
    assert (alone["nll_se"], alone["elbo_se"], alone["khat_above_0_7"]) == (0.3, 0.4, None)


def test_differences_are_paired_by_image():
    """The images differ by hundreds, the pairs by a little: only a paired error is small."""
    hard = torch.tensor([100.0, 500.0, 900.0, 1300.0], dtype=torch.float64)
    gain = torch.tensor([1.0, 1.2, 0.8, 1.0], dtype=torch.float64)
    baseline = Experiment("none", [result(hard.tolist()), result((hard + 0.2).tolist())])
    better = Experiment("iaf", [result((hard - gain).tolist()), result((hard - gain + 0.2).tolist())])
    difference = nll_difference(better, baseline)
    assert difference.mean == pytest.approx(-1.0)
    assert difference.se_images == pytest.approx(gain.std().item() / 2)
    assert difference.se_seeds == pytest.approx(math.hypot(0.1, 0.1))
    assert math.isnan(nll_difference(better, Experiment("one", [result(hard.tolist())])).se_seeds)
    row, own = comparison_table([better, baseline], baseline).rows
    assert row["difference_mean"] == pytest.approx(-1.0)
    assert own["difference_mean"] is None


@pytest.mark.parametrize("key", ["dataset", "binarization", "split", "images", "samples"])
def test_runs_of_different_images_are_refused(key):
    other = result(folder="runs/b")
    other.summary[key] = "other"
    with pytest.raises(ValueError, match=rf"runs/a was evaluated with {key} .*, runs/b with other: .* --force"):
        check_comparable([result(), result(), other])
    check_comparable([result(), result(folder="runs/b")])


def test_every_format_holds_the_numbers():
    experiments = pool([result(), result((2.0, 2.0, 3.5), flow="radial_x")])
    table = comparison_table(experiments, experiments[0])
    assert json.loads(table.json())[1]["nll"] == 2.5
    assert [float(row["nll"]) for row in csv.DictReader(io.StringIO(table.csv()))] == [2.0, 2.5]
    head, rule, first, second = table.markdown().splitlines()
    assert head.count("|") == rule.count("|") == first.count("|") == second.count("|")
    assert "| -3.00" not in first
    assert "3.00 ± 0.40" in first
    assert "0.500 ± 0.289" in second
    assert max(map(len, table.text().splitlines())) <= 100
    latex = table.latex()
    assert r"radial\_x-4 & 3.50 $\pm$ 0.40" in latex
    assert latex.count(r"\\") == 3
    assert not {r"\textbf", r"\caption"} & {word.partition("{")[0] for word in latex.split()}
    captioned = comparison_table(experiments, experiments[0], caption="100% of x_1").latex()
    assert r"\caption{100\% of x\_1}" in captioned
    assert r"iaf-4 & \textbf{3.00 $\pm$ 0.40} & \textbf{2.00 $\pm$ 0.30} &" in captioned
    assert captioned.count(r"\textbf") == 2


def test_bits_and_kl_are_pooled_over_seeds_and_shown_where_they_are_requested():
    """A summary's bits are its NLL over pixels and ln 2, and so is their mean over seeds."""
    runs = [result(nll) for nll in ((1.0, 2.0, 3.0), (2.0, 2.0, 3.5))]
    for kl, run in enumerate(runs):
        run.summary.update(kl=1.0 + kl, bits_per_dim=run.summary["nll"] / (64 * math.log(2)))
    chosen = ["experiment", "bits_per_dim", "kl"]
    table = comparison_table(pool(runs), columns=chosen)
    assert table.rows[0]["bits_per_dim"] == pytest.approx(2.25 / (64 * math.log(2)))
    assert table.rows[0]["kl"] == 1.5
    assert table.cells() == [["experiment", "bits/dim", "KL, nats"], ["iaf-4", "0.0507", "1.50"]]
    usual = comparison_table(pool(runs))
    assert not {"KL, nats", "bits/dim"} & {*usual.cells()[0]}
    assert json.loads(usual.json())[0]["kl"] == 1.5
    with pytest.raises(ValueError, match="unknown column 'bpd'; did you mean bits_per_dim"):
        comparison_table(pool(runs), columns=["bpd"])


def written_configs():
    """A base config on the digits, and two posteriors over it, in the current folder."""
    small = {"latent": 4, "context": 4, "encoder_options": {"hidden": [16]}}
    data = {"dataset": "digits", "binarization": "threshold", "batch_size": 200}
    Path("base.yaml").write_text(yaml.safe_dump({"model": small, "data": data, "trainer": {"max_epochs": 2}}))
    Path("digits").mkdir()
    for flow, depth in (("none", 1), ("planar", 2)):
        Path(f"digits/{flow}.yaml").write_text(yaml.safe_dump({"model": {"flow": flow, "depth": depth}}))
    return ["digits/none.yaml", "digits/planar.yaml"]


@pytest.fixture
def configs(workdir):
    return written_configs()


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A folder in which the runs of the configs are trained and evaluated."""
    folder = tmp_path_factory.mktemp("compared")
    with contextlib.chdir(folder):
        assert main([str(word) for word in ["compare", *written_configs(), *FIT]]) == 0
    return folder


@pytest.fixture
def runs(configs, compared):
    """The configs' runs, trained and evaluated."""
    shutil.copytree(compared / "runs", "runs")


def test_one_command_trains_evaluates_and_compares_and_goes_on_where_it_was(configs, cli, monkeypatch):
    arguments = ["compare", *configs, *FIT, "--seeds", 0, 1, "--baseline", "none", "--format", "json"]
    code, out, error = cli(*arguments)
    assert code == 0, error
    table = json.loads(out)
    assert {(row["experiment"], row["seeds"], row["epochs"]) for row in table} == {("none-1", 2, 2), ("planar-2", 2, 2)}
    assert [row["nll"] for row in table] == sorted(row["nll"] for row in table)
    seeds = [
        yaml.safe_load(Path(f"runs/digits-none-1-seed{n}/config.yaml").read_text())["seed_everything"] for n in (0, 1)
    ]
    assert seeds == [0, 1]
    written = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*.*") if path.is_file()}
    shutil.rmtree("runs/digits-planar-2-seed1")
    shutil.rmtree("runs/digits-none-1-seed0/checkpoints")
    code, out, error = cli(*arguments, "--overwrite", "true")
    assert code == 0, error
    assert error.count("training ") == 2
    kept = [path for path in written if path.parts[1] in ("digits-none-1-seed1", "digits-planar-2-seed0")]
    assert kept
    assert all(path.stat().st_mtime_ns == written[path] for path in kept)
    again = json.loads(out)
    assert [row["nll"] for row in again] == [row["nll"] for row in table]


def test_each_training_has_a_wandb_run_of_its_own(configs, cli, no_wandb_account):
    code, _, error = cli("compare", configs[0], *FIT, "--seeds", 0, 1, "--trainer.max_epochs", 1)
    assert code == 0, error
    folders = [[path.name for path in Path("runs").glob(f"*-seed{n}/wandb/offline-run-*")] for n in (0, 1)]
    ids = [{_id_in(name) for name in names} for names in folders]  # training and evaluation write to the same one
    assert [len(each) for each in folders] == [2, 2]
    assert [len(each) for each in ids] == [1, 1]
    assert ids[0] != ids[1]


def test_an_interrupted_training_is_resumed(configs, cli):
    assert cli("compare", configs[0], *FIT, "--trainer.max_epochs", 1)[0] == 0
    folder = Path("runs/digits-none-1-seed0")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["trainer"]["max_epochs"] = 3  # as if it had stopped after the first
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    code, out, error = cli("compare", configs[0], *FIT, "--trainer.max_epochs", 3)
    assert code == 0, error
    assert "training runs/digits-none-1-seed0" in out
    assert torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["epoch"] == 2


def test_only_the_table_goes_to_the_output_in_other_formats(configs, cli):
    code, out, error = cli("compare", *configs, *FIT, "--trainer.max_epochs", 1, "--format", "latex")
    assert code == 0, error
    assert out.startswith("% needs")
    assert "training runs/digits-none-1-seed0" in error
    last = "runs/digits-none-1-seed0/checkpoints/last.ckpt"
    code, _, error = cli("compare", "runs/digits-none-1-seed0", last, "--samples", 30, "--limit", 40)
    assert (code, f"nfvae evaluate {last} " in error) == (2, True)


def test_the_page_needs_nothing_else(configs, runs, cli):
    code, _, error = cli("compare", *configs, *FIT, "--baseline", "none", "--html", "page.html")
    assert code == 0, error
    page = Path("page.html").read_text()
    assert page.count("<img") == page.count('src="data:image/png;base64,') == 5
    assert "http" not in page
    assert page.count("<tr>") == 3
    if CHROMIUM:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=390,2000"]
        url = Path("page.html").resolve().as_uri()
        subprocess.run([CHROMIUM, *options, "--screenshot=phone.png", url], check=True, capture_output=True)
        dom = subprocess.run([CHROMIUM, *options, "--dump-dom", url], check=True, capture_output=True, text=True).stdout
        assert Path("phone.png").stat().st_size > 20_000
        assert "planar-2" in dom


class FakeRun:
    """A run as wandb's Api gives it, made of one of ours."""

    def __init__(self, folder, seed):
        config = yaml.safe_load((folder / "config.yaml").read_text())
        evaluation = json.loads(next(folder.glob("evaluation-*.json")).read_text())
        self.name, self.config = f"{folder.name}-{seed}", config | {"seed_everything": seed}
        self.summary = {f"test/importance-30-first40/{key}": value for key, value in evaluation.items()} | {
            "val/elbo": -1.0
        }

    def scan_history(self):
        return [{"train/elbo_step": -3.0}, {"epoch": 0, "seconds": 2.5, "val/elbo": -2.0}]


def test_runs_are_read_from_wandb(runs, cli, monkeypatch):
    folder = Path("runs/digits-planar-2-seed0")

    class Api:
        def runs(self, path):
            if path != "us/nfvae":
                raise ConnectionError("no such project")
            return [FakeRun(folder, 1), FakeRun(folder, 2)]

    monkeypatch.setattr("wandb.Api", Api)
    code, out, error = cli("compare", *WANDB, *LIMITED, "--format", "json", "--html", "page.html")
    assert code == 0, error
    (row,) = json.loads(out[: out.rindex("]") + 1])
    ours = json.loads((folder / "evaluation-test-importance-30-first40.json").read_text())
    assert (row["experiment"], row["seeds"], row["epochs"], row["training_seconds"]) == ("planar-2", 2, 1, 2.5)
    assert (row["nll"], row["nll_se"], row["draw_ms"]) == (
        pytest.approx(ours["nll"]),
        0,
        pytest.approx(ours["draw_ms"]),
    )
    for arguments, message in (
        (["--wandb", "us/other"], "cannot read us/other from wandb: no such project"),
        (["--wandb", "us/nfvae"], "no run of us/nfvae holds an evaluation with the default settings"),
        (
            ["runs/digits-none-1-seed0", *WANDB, *LIMITED, "--baseline", "none"],
            "paired differences",
        ),
    ):
        code, _, error = cli("compare", *arguments)
        assert code == 2
        assert message in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to compare"),
        (["runs/nothing"], "there is no run runs/nothing"),
        (["digits/none.yaml", "-c", "base.yaml"], "there is no run runs/digits-none-1-seed0"),
        (["digits/none.yaml", "--trainer.max_epochs", 3], "unrecognized arguments: --trainer.max_epochs 3"),
        (["digits/no.yaml", *FIT], "digits/no.yaml"),
        (["runs/a", *FIT[:-2], "--model.depth", 3], "unrecognized arguments: --model.depth 3"),
        (["runs/a", "--fit", "--limt", 3], "unrecognized arguments: --limt 3; did you mean --limit?"),
        (["digits/none.yaml", *FIT, "--model.depht", 3], "depht"),
        (
            ["digits/none.yaml", *FIT, "--baseline", "iaf"],
            "unknown baseline 'iaf'; known baselines: none-1",
        ),
        (["digits/none.yaml", *FIT, "--sort", "nl"], "unknown column 'nl'; known columns: experiment, "),
        (["digits/none.yaml", "--format", "pdf"], "invalid choice: 'pdf'"),
    ],
)
def test_mistakes_get_one_line(arguments, message, configs, cli):
    code, _, error = cli("compare", *arguments)
    assert code == 2
    assert message in error
    assert len(re_errors := [line for line in error.splitlines() if "nfvae: error" in line]) == 1, re_errors


def test_a_run_that_was_not_evaluated_names_the_command(runs, cli):
    code, _, error = cli("compare", "runs/digits-none-1-seed0")
    assert code == 2
    assert "nfvae evaluate runs/digits-none-1-seed0; there is evaluation-test-importance-30-first40" in error


def test_nothing_is_trained_before_a_mistake_is_noticed(configs, cli):
    Path("digits/same.yaml").write_text("name: one\nmodel: {flow: none, depth: 1}\n")
    Path("digits/other.yaml").write_text("name: one\nmodel: {flow: planar, depth: 1}\n")
    Path("digits/deep.yaml").write_text("model: {flow: planar, depth: 3}\n")
    elsewhere = ["--trainer.default_root_dir", ".", "--trainer.max_epochs", 1, "--model.depth", 1]
    assert cli("fit", "--task", "density", "--name", "density", "--data.dataset_options.count", 50, *elsewhere)[0] == 0
    assert cli("fit", "-c", "base.yaml", "--model.flow", "none", "--name", "vae", *elsewhere)[0] == 0
    assert cli("export", "vae", "--to", "exported", "--weights", "none")[0] == 0
    for arguments, message in (
        (["--baseline", "iaf"], "unknown baseline 'iaf'; known baselines: none-1, planar-2"),
        (["--sort", "nl"], "unknown column 'nl'"),
        (["--split", "tset"], "unknown split 'tset'"),
        (["--data.dataset", "mnist"], "is trained on images of shape [8, 8]; those of mnist have [28, 28]"),
        (["runs/nothing"], "there is no run runs/nothing"),
        (["digits/same.yaml", "digits/other.yaml"], "two configs name their runs runs/one"),
        (
            ["--baseline=planar", "digits/deep.yaml"],
            "several experiments are called planar; give one of the names 'planar-3', 'planar-2'",
        ),
        (["exported/vae"], "run exported/vae has no evaluation-test-importance-30-first40, and was exported without"),
    ):
        code, _, error = cli("compare", *arguments, *configs, *FIT)
        assert code == 2
        assert message in error
        assert not Path("runs").exists()


def test_a_run_trained_otherwise_is_not_taken_for_the_one_asked_for(configs, runs, cli):
    for words in (["--model.lr", 0.1], ["--trainer.max_epochs", 3], ["--trainer.gradient_clip_val", 0.1]):
        code, _, error = cli("compare", configs[0], *FIT, *words)
        assert code == 2
        assert f"was trained with {words[0].removeprefix('--')} " in error
    code, out, error = cli("compare", configs[0], *FIT, "--root", "other", "--trainer.max_epochs", 3)
    assert code == 0, error
    assert "training other/digits-none-1-seed0" in out


def test_further_estimators_stand_beside_the_first(configs, runs, cli):
    annealed = ["--estimator", "importance", "annealed", "--temperatures", 5]
    code, out, error = cli("compare", *configs[:2], *FIT, *annealed)
    assert code == 0, error
    assert "40 images, 30 importance samples (mixture proposal) an image, and annealed, 4 chains of 5 temp" in out
    folders = ["runs/digits-none-1-seed0", "runs/digits-planar-2-seed0"]
    alone = [json.loads(Path(f"{folders[0]}/evaluation-test-{name}-first40.json").read_text())
             for name in ("importance-30", "annealed-4x5")]  # fmt: skip
    code, out, error = cli("compare", *folders, *LIMITED, *annealed, "--format", "json")
    row = next(row for row in json.loads(out) if row["flow"] == "none")
    told = {"nll": alone[0]["nll"], "nll_se": alone[0]["nll_se"], "nll_annealed": alone[1]["nll"]}
    told |= {"nll_annealed_se": alone[1]["nll_se"], "elbo": alone[0]["elbo"], "nll_importance": alone[0]["nll"]}
    assert {name: row[name] for name in told} == told
    assert row["estimator"] == "importance, annealed"
    order = [*annealed[:1], "annealed", "importance", *annealed[3:]]
    code, out, error = cli("compare", *folders, *LIMITED, *order, "--html", "page.html", "--format", "json")
    assert code == 0, error
    out = out.partition("written:")[0]
    page = Path("page.html").read_text()
    assert all(f">{heading}, nats</abbr>" in page for heading in ("NLL, annealed", "gap, annealed"))
    row = next(row for row in json.loads(out) if row["flow"] == "none")
    assert (row["nll"], row["nll_importance"]) == (alone[1]["nll"], alone[0]["nll"])


def test_columns_are_chosen_by_name(configs, runs, cli):
    chosen = ["--columns", "experiment", "gap", "epoch_seconds"]
    code, out, error = cli("compare", *configs[:2], *FIT, *chosen, "--format", "markdown")
    assert code == 0, error
    assert "| experiment | gap, nats | epoch, s |\n| --- |" in out
    code, out, error = cli("compare", *configs[:2], *FIT, *chosen, "--format", "json")
    assert [[*row] for row in json.loads(out[out.index("[\n") :])] == [["experiment", "gap", "epoch_seconds"]] * 2
    assert cli("compare", *configs[:2], *FIT, "--columns", "seeds", "gap", "--html", "page.html")[0] == 0
    compared = ["compare", *configs[:2], *FIT, "--columns", "gap", "gap", "--baseline", "none", "--format", "markdown"]
    assert "| gap, nats | NLL - baseline, nats |\n" in cli(*compared)[1]
    code, out, error = cli("compare", "runs/digits-none-1-seed0", *LIMITED, "--columns", "experiment", "nll_annealed")
    assert code == 2
    assert "no evaluation that is compared has nll_annealed" in error
    code, _, error = cli("compare", "runs/digits-none-1-seed0", *LIMITED, "--columns", "elbow")
    assert code == 2
    assert "unknown column 'elbow'; known columns: experiment, seeds" in error


@exhaustive
def test_each_config_goes_over_all_that_c_names(configs, cli):
    prior = {"prior": "mixture", "prior_options": {"components": 3}}
    Path("prior.yaml").write_text(yaml.safe_dump({"model": prior}))
    code, _, error = cli("compare", "-c", "base.yaml", "-c", "prior.yaml", *configs, "--fit", *LIMITED)
    assert code == 0, error
    flows = {"digits-none-1-mixtureprior-seed0": "none", "digits-planar-2-mixtureprior-seed0": "planar"}
    assert {path.name for path in Path("runs").iterdir()} == set(flows)
    for name, flow in flows.items():
        model = yaml.safe_load(Path(f"runs/{name}/config.yaml").read_text())["model"]
        assert {**prior, "flow": flow, "latent": 4}.items() <= model.items()


def test_one_run_named_twice_is_one_run(runs, cli):
    folder = "runs/digits-none-1-seed0"
    twice = [folder, f"{folder}/checkpoints/best.ckpt"]
    code, out, error = cli("compare", *twice, *LIMITED, "--format", "json")
    assert code == 0, error
    assert [row["seeds"] for row in json.loads(out)] == [1]


def test_an_evaluation_of_another_checkpoint_is_not_shown(runs, cli):
    folder = Path("runs/digits-none-1-seed0")
    shutil.copy(folder / "checkpoints/last.ckpt", folder / "checkpoints/best.ckpt")
    with changed(folder / "checkpoints/best.ckpt") as saved:
        next(iter(saved["state_dict"].values())).add_(1e-6)
    code, _, error = cli("compare", folder, *LIMITED)
    assert code == 2
    assert "is of another checkpoint than" in error
    assert "nfvae evaluate runs/digits-none-1-seed0" in error


@exhaustive
def test_after_the_loop_of_the_documents_nothing_is_trained(configs, cli):
    for config in configs:
        assert cli("fit", "-c", "base.yaml", "-c", config, "--trainer.enable_progress_bar", "false")[0] == 0
    code, out, error = cli("compare", *configs, *FIT)
    assert code == 0, error
    assert "training" not in out.replace("training, s", "")


@exhaustive
def test_seeds_of_a_config_with_a_name_have_names_of_their_own(configs, cli):
    Path("digits/named.yaml").write_text("name: mine\nmodel: {flow: none, depth: 1}\n")
    code, _, error = cli("compare", "digits/named.yaml", *FIT, "--seeds", 0, 1, "--trainer.max_epochs", 1)
    assert code == 0, error
    assert sorted(path.name for path in Path("runs").iterdir()) == ["mine", "mine-seed1"]
