"""Classes of a user's own, for every role, without touching the package; and which of them a checkpoint may import."""

import json
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import yaml

from nfvae import FlowVAE
from nfvae.registry import check_trusted, class_paths, trusting
from nfvae.runs import Run, trust
from tests.commands.test_fit import assert_one_line
from tests.helpers.checkpoints import changed
from tests.helpers.sweeps import sweep

OWN = "tests.helpers.own"
QUICK = ["--trainer.max_epochs", 1, "--trainer.limit_train_batches", 1, "--trainer.enable_progress_bar", "false"]
SMALL = ["--model.latent", 2, "--model.context", 3, "--model.depth", 2]
DIGITS = ["--data.dataset", "digits"]
ROLES = {
    "flow": ["--model.flow", f"{OWN}:StretchFlow"],
    "univariate map": ["--model.flow_options", json.dumps({"hidden": 4, "univariate": f"{OWN}:Shift"})],
    "encoder": ["--model.encoder", f"{OWN}:LinearEncoder", "--model.encoder_options.gain", 0.5],
    "decoder": ["--model.decoder", f"{OWN}:LinearDecoder"],
    "decoder with a likelihood": [*("--model.decoder", f"{OWN}:LaplaceDecoder"), "--model.likelihood", "own"],
    "prior": ["--model.prior", f"{OWN}:WidePrior", "--model.prior_options.scale", 3.0],
    "objective": ["--model.objective", f"{OWN}:Reconstruction"],
    "dataset": ["--data.dataset", f"{OWN}:Stripes", "--data.dataset_options.count", 30],
}


TRIED = ("flow", "decoder with a likelihood", "dataset")


@pytest.mark.parametrize("role", sweep(ROLES, lambda role: role in TRIED))
def test_a_class_of_your_own_is_trained_evaluated_and_reloaded(role, cli):
    code, _, error = cli("fit", *QUICK, *SMALL, *DIGITS, *ROLES[role], "--name", "mine")
    assert code == 0, error
    code, out, error = cli("evaluate", "runs/mine", "--samples", 30, "--limit", 5)
    assert code == 0, error
    assert "runs/mine" in out
    trained = torch.load("runs/mine/checkpoints/best.ckpt", weights_only=True)["state_dict"]
    for loaded in (Run("runs/mine").vae(), FlowVAE.load_from_checkpoint("runs/mine").model):
        for key, value in loaded.state_dict().items():
            torch.testing.assert_close(value, trained[f"model.{key}"], rtol=0, atol=0)
    for command in (["sample", "runs/mine"], ["test", "runs/mine"], ["plot", "reconstructions", "runs/mine"]):
        code, _, error = cli(*command)
        assert code == 0, (command, error)


def test_a_toy_of_your_own_is_fitted(cli):
    small = [
        "--data.dataset",
        f"{OWN}:Line",
        "--data.dataset_options.count",
        500,
        "--model.flow",
        "planar",
        "--model.depth",
        1,
    ]
    code, _, error = cli("fit", "--task", "density", *QUICK, *small, "--name", "line")
    assert code == 0, error
    assert Path("runs/line/density.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.encoder", "nfvae.models:Nothing"], "cannot import encoder 'nfvae.models:Nothing'"),
        (["--model.prior", f"{OWN}:LinearDecoder"], "is not a subclass of nfvae.models.priors.base.Prior"),
        (["--model.decoder", "nfvae.models:Decoder"], "'nfvae.models:Decoder' is abstract: it lacks forward"),
        (["--model.prior_options.scale", 2], "unknown option 'scale' of prior 'normal'; known options: none"),
        (["--model.objective", "elob"], "unknown objective 'elob'; known objectives: elbo, iwae, or .* mean elbo"),
        (["--data.dataset", f"{OWN}:WidePrior"], "is not a subclass of nfvae.data.datasets.Dataset"),
        (
            ["--model.encoder_options", '{"hidden": "abc"}'],
            "hidden takes the widths of the layers.* got 'abc'",
        ),
        (["--model.likelihood", "own"], "MLPDecoder gives numbers, and the likelihood own takes a decoder that gives"),
        (["--model.flow_options", '{"hidden": [64]}'], "hidden must be a whole number; got \\[64\\]"),
        (["--model.objective_options", '{"beta": "a"}'], "beta must be a number; got 'a'"),
    ],
)
def test_a_wrong_class_gets_one_line(arguments, message, cli):
    code, _, error = cli("fit", *QUICK, *SMALL, *DIGITS, *arguments)
    assert_one_line(code, error, message)
    assert not Path("runs").exists()


MODULE = """
from pathlib import Path
Path("imported").touch()
from tests.helpers.own import StretchFlow
"""


@pytest.fixture
def foreign(cli):
    """A run whose flow comes from a module that a later process has not imported."""
    Path("foreign.py").write_text(MODULE)
    sys.path.insert(0, str(Path.cwd()))
    try:
        arguments = [*QUICK, *SMALL, *DIGITS, "--model.flow", "foreign:StretchFlow", "--name", "mine"]
        assert cli("fit", *arguments)[0] == 0
        yield Path("runs/mine")
    finally:
        sys.path.remove(str(Path.cwd()))
        sys.modules.pop("foreign", None)


@pytest.fixture
def afresh(cli):
    """Run the command line as a process would that has not imported the module yet."""

    def call(*arguments):
        Path("imported").unlink(missing_ok=True)
        sys.modules.pop("foreign", None)
        code, _, error = cli(*arguments)
        return code, error

    return call


def test_a_checkpoint_alone_imports_no_module_of_somebody_elses(foreign, afresh):
    shutil.copy(foreign / "checkpoints/best.ckpt", "given.ckpt")
    refused = afresh("sample", "given.ckpt", "--output", "x.png")
    assert_one_line(*refused, "given.ckpt names foreign:StretchFlow, a class from outside nfvae")
    assert not Path("imported").exists()
    named = afresh("sample", "given.ckpt", "--output", "x.png", "--trust", "foreign:StretchFlow")
    assert named[0] == 0, named[1]
    assert Path("imported").exists()
    again = afresh(
        *(
            "fit",
            "--ckpt_path",
            "given.ckpt",
            "--model.flow=foreign:StretchFlow",
            "--trainer.default_root_dir",
            "runs",
            *QUICK[:2],
        )
    )
    assert again[0] == 0, again[1]


def test_loading_from_python_needs_the_name_or_the_module(foreign):
    shutil.move(foreign, "elsewhere")
    sys.modules.pop("foreign")
    Path("imported").unlink()
    with pytest.raises(ValueError, match="names foreign:StretchFlow"):
        FlowVAE.load_from_checkpoint("elsewhere")
    assert not Path("imported").exists()
    FlowVAE.load_from_checkpoint("elsewhere", flow="foreign:StretchFlow")
    assert Path("imported").exists()


TRUST = ["--trust", "foreign:StretchFlow"]


def test_a_folder_does_not_vouch_for_itself(foreign, afresh, monkeypatch):
    shutil.copytree(foreign, "elsewhere")
    for command in (["sample", "elsewhere"], ["test", "elsewhere"], ["fit", "--ckpt_path", "elsewhere"]):
        assert_one_line(*afresh(*command), "elsewhere.* names foreign:StretchFlow, .* add --trust foreign:StretchFlow")
        assert not Path("imported").exists()
        code, error = afresh(*command, *TRUST)
        assert code == 0, error
    monkeypatch.setenv("NFVAE_TRUST", "other:A, foreign:StretchFlow")
    shutil.copytree(foreign, "again")
    assert afresh("sample", "again")[0] == 0


def test_a_run_that_was_trained_here_needs_no_word(foreign, afresh):
    for command in (["sample", foreign], ["test", foreign], ["fit", "--ckpt_path", foreign]):
        code, error = afresh(*command)
        assert code == 0, error
    shutil.move(foreign, "elsewhere")
    assert afresh("sample", "elsewhere")[0] == 2
    assert afresh("fit", "--ckpt_path", "elsewhere", "--trainer.max_epochs", 2, *TRUST)[0] == 0
    assert afresh("sample", "elsewhere")[0] == 0


def _another_user(monkeypatch, mark):
    monkeypatch.setenv("XDG_STATE_HOME", str(Path("other").resolve()))


def _a_relative_state(monkeypatch, mark):
    shutil.copytree(os.environ["XDG_STATE_HOME"], "state")
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    monkeypatch.setenv("HOME", "nowhere")


def _a_further_class(monkeypatch, mark):
    said = json.loads(mark.read_text())
    mark.write_text(json.dumps(said | {"classes": [*said["classes"], "os:path"]}))


FORGED = {
    "another user's": _another_user,
    "the archive's own key": _a_relative_state,
    "a further class": _a_further_class,
    "no mark": lambda monkeypatch, mark: mark.unlink(),
    "no code": lambda monkeypatch, mark: mark.write_text('{"classes": ["foreign:StretchFlow"], "code": null}'),
    "another code": lambda monkeypatch, mark: mark.write_text('{"classes": ["foreign:StretchFlow"], "code": "ab"}'),
    "no names": lambda monkeypatch, mark: mark.write_text('{"classes": 5, "code": "ab"}'),
    "another alphabet": lambda monkeypatch, mark: mark.write_text('{"classes": [], "code": "\\u00e9"}'),
}


@pytest.mark.parametrize("forgery", FORGED)
def test_no_other_mark_counts(forgery, foreign, afresh, monkeypatch):
    FORGED[forgery](monkeypatch, foreign / ".trained-here")
    assert_one_line(*afresh("sample", foreign), "names foreign:StretchFlow")
    assert not Path("imported").exists()


def test_a_run_whose_mark_cannot_be_written_is_trained_and_says_so(cli, monkeypatch):
    Path("file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(Path("file").resolve()))
    code, out, error = cli("fit", *QUICK, *SMALL, *DIGITS, *ROLES["flow"], "--name", "mine")
    assert code == 0, error
    assert f"later commands on runs/mine need --trust {OWN}:StretchFlow" in out


def test_processes_that_start_together_have_one_key(workdir, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(workdir / "state"))
    with ThreadPoolExecutor(16) as pool:
        keys = set(pool.map(lambda _: trust._made_key(), range(16)))
    assert len(keys) == 1
    assert [path.name for path in Path("state/nfvae").iterdir()] == ["key"]
    assert Path("state/nfvae/key").stat().st_mode & 0o777 == 0o600


def test_trust_reaches_a_teacher_and_a_start(foreign, afresh):
    shutil.copytree(foreign, "given")
    code, error = afresh("fit", *QUICK, *DIGITS, "--task", "distill", "--model.teacher", "given", "--name", "student")
    assert_one_line(code, error, "given.* names foreign:StretchFlow")
    start = [*QUICK, *SMALL, *DIGITS, "--model.start", "given", "--model.flow", "planar", "--name", "later"]
    assert_one_line(*afresh("fit", *start), "given.* names foreign:StretchFlow")
    assert not Path("imported").exists()
    student = ["--task", "distill", "--model.teacher", "given", "--model.flow", "planar", "--name", "student"]
    code, error = afresh("fit", *QUICK, *DIGITS, *student, "--model.context", 3, *TRUST)
    assert code == 0, error
    assert_one_line(*afresh("fit", *start, *TRUST), "model.start: given/checkpoints/best.ckpt has flow")


@pytest.mark.parametrize(
    "callbacks", ["foreign.Bomb", {"class_path": "foreign.Bomb"}, [{"class_path": "foreign.Bomb"}]]
)
def test_a_config_beside_a_checkpoint_imports_nothing_either(callbacks, foreign, afresh):
    assert afresh("fit", *QUICK, *SMALL, *DIGITS, "--name", "plain")[0] == 0
    config = yaml.safe_load(Path("runs/plain/config.yaml").read_text())
    config["trainer"]["callbacks"] = callbacks
    Path("runs/plain/config.yaml").write_text(yaml.safe_dump(config))
    assert_one_line(*afresh("fit", "--ckpt_path", "runs/plain"), "config.yaml names foreign:Bomb")
    assert not Path("imported").exists()
    assert afresh("sample", "runs/plain")[0] == 0


def test_trust_is_given_to_classes(foreign, afresh):
    assert_one_line(*afresh("sample", "--trust", "foreign", "--", foreign), "trust is given to classes.*got 'foreign'")
    with trusting("a:B"):
        check_trusted({"flow": "a:B"}, "x.ckpt")
    with pytest.raises(ValueError, match="names a:B"):
        check_trusted({"flow": "a:B"}, "x.ckpt")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("flow", "foreign:"),
        ("flow", "foreign:A.b"),
        ("flow", "foreign:1"),
        ("flow", "foreign :A"),
        ("flow_options", {"univariate": "foreign:Shift"}),
        ("flow_options", {"univariate": "foreign:"}),
        ("encoder", "foreign:E"),
        ("dataset", "foreign:"),
        ("dataset", "foreign:D"),
        ("task", "foreign:T"),
    ],
)
def test_no_spelling_imports_what_is_not_trusted(place, value, foreign, afresh):
    (foreign / ".trained-here").unlink()
    path = foreign / "checkpoints/best.ckpt"
    with changed(path) as saved:
        saved["hyper_parameters"] |= {"flow": "iaf", "_instantiator": "foreign.make"}
        homes = {"task": saved, "dataset": saved["datamodule_hyper_parameters"]}
        homes.get(place, saved["hyper_parameters"])[place] = value
    for command in ("sample", "test"):
        refused = afresh(command, path)
        assert_one_line(*refused, "")
        assert not Path("imported").exists()


def test_class_paths_are_found_wherever_they_hide():
    settings = {"flow": "iaf", "options": {"univariate": "a.b:C", "parts": [{"flow": "d:E"}]}, "root": "/data:x y"}
    assert class_paths(settings) == {"a.b:C", "d:E"}
    check_trusted(settings, "x.ckpt", ["a.b:C", "d:E"])
    check_trusted({"flow": "nfvae.flows.planar:PlanarFlow"}, "x.ckpt")
    with pytest.raises(ValueError, match=r"x\.ckpt names d:E, a class from outside nfvae"):
        check_trusted(settings, "x.ckpt", ["a.b:C"])


BROKEN = "tests.helpers.broken"
BREACHES = {
    "NotUndone": ("model.flow", "flow NotUndone: its inverse misses a point by"),
    "WrongLogDetFlow": ("model.flow", r"gives log-determinants with shape \(3, 2, 2\); expected \(3, 2\)"),
    "NarrowFlow": ("model.flow", r"gives points with shape \(3, 2, 1\); expected \(3, 2, 2\)"),
    "WrongJacobianFlow": (
        "model.flow",
        "flow WrongJacobianFlow: its log-determinant differs from that of its Jacobian",
    ),
    "UncancelledFlow": (
        "model.flow",
        "flow UncancelledFlow: log-determinants of forward and inverse do not cancel, by 1",
    ),
    "MixesFlow": ("model.flow", "flow MixesFlow maps a point otherwise among other points"),
    "OnlyPointsFlow": ("model.flow", "flow OnlyPointsFlow gives Tensor; expected points and log-determinants"),
    "EndlessFlow": ("model.flow", "flow EndlessFlow gives points that are not finite"),
    "CoarseFlow": ("model.flow", "flow CoarseFlow gives points of torch.float16; expected torch.float32"),
    "NotYet": ("model.flow", "flow NotYet fails: NotImplementedError$"),
    "Leaves": ("model.flow", "cannot build flow 'tests.helpers.broken:Leaves' with options {}: 5"),
    "NoBijection": ("model.flow", "flow .*NoBijection"),
    "OtherArguments": ("model.flow", "cannot build flow 'tests.helpers.broken:OtherArguments'"),
    "WideEncoder": ("model.encoder", r"encoder WideEncoder gives loc with shape \(2, 3\); expected \(2, 2\)"),
    "TwoThings": ("model.encoder", "encoder TwoThings gives 2 things; expected loc, log_scale, h"),
    "OneForAll": (
        "model.flow",
        r"OneForAll: given has shift with shape \(1, 1\); it should begin with the batch, \(2,\)",
    ),
    "OfTheBatch": ("model.flow", "OfTheBatch: .* of an image in given depends on the other images of the batch"),
    "WholeNumbers": ("model.flow", r"WholeNumbers: given has mask of torch.int64; expected floating numbers"),
    "ListGiven": ("model.flow", "ListGiven: given returns list; expected a dict of tensors"),
    "SeesMore": ("model.flow", "SeesMore: what is given of an image does not decide its map; build sees more"),
    "OwnForward": ("model.flow", "OwnForward has a forward of its own; write given and build, which forward calls"),
    "SaysExact": ("model.flow", "SaysExact has exact = True, its bijection False: one is wrong"),
    "FewPixels": (
        "model.decoder",
        r"decoder FewPixels gives numbers with shape \(3, 2, 1, 3\); expected \(3, 2, 1, 64\)",
    ),
    "GivesDistribution": (
        "model.decoder",
        "decoder GivesDistribution gives a distribution, BernoulliPixels; expected numbers: --model.likelihood own",
    ),
    "NoPrior": ("model.prior", "prior NoPrior"),
    "ManyLosses": ("model.objective", r"objective ManyLosses gives its value with shape \(3, 2\); expected \(\)"),
    "FloatImages": ("data.dataset", r"gives torch.float32 with shape \(10, 24\); expected torch.uint8"),
    "NoImages": ("data.dataset", r"gives torch.uint8 with shape \(0, 24\)"),
    "TwoSplits": ("data.dataset", "cannot read dataset tests.helpers.broken:TwoSplits"),
    "Fails": ("data.dataset", "cannot read dataset tests.helpers.broken:Fails: 'missing'"),
    "Missing": ("model.flow", "cannot import flow"),
}


@pytest.mark.parametrize("name", BREACHES)
def test_a_class_that_breaks_its_promise_gets_one_line(name, cli):
    setting, message = BREACHES[name]
    code, _, error = cli("fit", *QUICK, *SMALL, *DIGITS, f"--{setting}={BROKEN}:{name}")
    assert_one_line(code, error, message)
    assert not list(Path().glob("runs/*"))


@pytest.mark.parametrize(
    ("name", "message"),
    [("Scalars", "expected floating point with shape"), ("Infinite", "gives numbers that are not finite")],
)
def test_a_toy_that_breaks_its_promise_gets_one_line(name, message, cli):
    code, _, error = cli("fit", "--task", "density", *QUICK, f"--data.dataset={BROKEN}:{name}", "--model.depth", 1)
    assert_one_line(code, error, message)
    assert not list(Path().glob("runs/*"))
