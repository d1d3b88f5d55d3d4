"""Settings out of several sources: later ones win, and another name drops the options of the earlier one."""

import functools
import itertools
from pathlib import Path

import pytest
import yaml

from nfvae.commands.plan import Plan
from nfvae.commands.settings import merge, read_config
from nfvae.flows import FLOWS
from nfvae.runs import run_name
from tests.commands.test_fit import CONFIGS, FOLDERS, RUN, assert_one_line
from tests.conftest import QUICKSTART

BASE, IAF = CONFIGS / "mnist.yaml", CONFIGS / "posteriors/iaf.yaml"
RELU = CONFIGS / "networks/relu.yaml"
SPLINE = {"univariate": "spline", "univariate_options": {"bins": 24}}
MIXTURE = {"task": "density", "model": {"flow": "elementwise", "flow_options": SPLINE}, "data": {"dataset": "mixture"}}


def model(*arguments):
    return Plan([str(argument) for argument in arguments]).settings["model"]


def test_another_name_drops_the_options_of_the_earlier_one():
    earlier = {"model": {"flow": "iaf", "flow_options": {"hidden": 3}, "encoder_options": {"gain": 1}}, "name": "x"}
    merged = merge(earlier, {"model": {"flow": "planar"}})
    assert merged == {"model": {"flow": "planar", "encoder_options": {"gain": 1}}, "name": "x"}
    assert merge(earlier, {"model": {"flow": "iaf", "depth": 2}})["model"]["flow_options"] == {"hidden": 3}
    both = merge(earlier, {"model": {"flow": "maf", "flow_options": {"hidden": 5}}})
    assert both["model"]["flow_options"] == {"hidden": 5}
    assert earlier["model"]["flow_options"] == {"hidden": 3}


def test_options_of_the_same_name_are_merged_key_by_key():
    earlier = {
        "model": {
            "flow": "iaf",
            "flow_options": {"hidden": 3, "univariate": "spline", "univariate_options": {"bins": 4}},
        }
    }

    def options(later):
        return merge(earlier, {"model": later})["model"].get("flow_options")

    same = {"hidden": 5, "univariate": "spline", "univariate_options": {"bins": 4}}
    assert options({"flow_options": {"hidden": 5}}) == options({"flow_options": {"hidden": 5}, "flow": "iaf"}) == same
    assert options({"flow_options": {"univariate_options": {"bound": 2}}})["univariate_options"] == {
        "bins": 4,
        "bound": 2,
    }
    assert options({"flow_options": {"univariate": "affine"}}) == {"hidden": 3, "univariate": "affine"}
    assert options({"flow_options": {"hidden": 5}, "flow": "maf"}) == {"hidden": 5}
    assert options({"flow_options": None}) is None
    assert earlier["model"]["flow_options"]["hidden"] == 3


def overlays():
    """One config of each folder at most: every combination, its configs in every order."""
    found = [[None, *sorted((CONFIGS / folder).glob("*.yaml"))] for folder in (*FOLDERS, "data")]
    for chosen in itertools.product(*found):
        yield [path for path in chosen if path]


def test_configs_of_different_folders_compose_in_any_order():
    contents = {path: read_config(path) for folder in (*FOLDERS, "data") for path in (CONFIGS / folder).glob("*.yaml")}
    for one, other in itertools.combinations(contents, 2):
        if one.parent != other.parent:
            assert merge(contents[one], contents[other]) == merge(contents[other], contents[one]), (one, other)


def test_no_two_combinations_of_configs_have_one_name():
    contents = {path: read_config(path) for path in {each for chosen in overlays() for each in chosen}}
    assert not any("name" in content for content in contents.values())
    base, names = read_config(BASE), {}
    for chosen in overlays():
        settings = functools.reduce(merge, (contents[path] for path in chosen), base)
        name = run_name({"seed_everything": 0, **settings})
        assert len(name) <= 72
        if (other := names.setdefault(name, settings)) != settings:
            raise AssertionError(f"{name} is the name of {settings} and {other}")
    assert len(names) > 1000


def test_a_name_does_not_depend_on_the_length_of_a_training():
    plan = Plan(["-c", str(BASE), "--trainer.max_epochs", "500", "--model.objective_options.warmup_epochs", "50"])
    longer = Plan(["-c", str(BASE), "--model.lr", "1e-3", "--data.batch_size", "100"])
    assert plan.settings["name"] == longer.settings["name"] == "mnist-gated-none-1-seed0"
    assert Plan([]).settings["name"] == "mnist-iaf-4-seed0"


@pytest.mark.parametrize(("activation", "word"), [("../../x", "x"), ("3", "3"), ("y" * 300, "y" * 40)])
def test_no_setting_leads_out_of_the_folder_of_all_runs(activation, word):
    plan = Plan(["--model.encoder_options", f"{{activation: {activation}}}"])
    assert plan.settings["name"] == f"mnist-{word}-mlp-iaf-4-seed0"


@pytest.mark.parametrize("words", [["--model.flow", "planar"], ["--model.flow=planar"]])
def test_the_command_line_drops_them_too(words):
    assert model("-c", BASE, "-c", IAF, *words)["flow_options"] is None
    assert model("-c", BASE, "-c", IAF)["flow_options"] == {"hidden": 320, "hidden_layers": 2}
    assert model("-c", BASE, "-c", IAF, *words, "--model.flow_options", "{}")["flow_options"] == {}


def test_one_option_is_changed_and_the_others_stay():
    options = model("-c", BASE, "-c", IAF, "--model.flow_options.hidden", 64)["flow_options"]
    assert options == {"hidden": 64, "hidden_layers": 2}
    same = model("-c", BASE, "-c", IAF, "--model.flow", "iaf", "--model.flow_options.hidden", 64)["flow_options"]
    assert same == {"hidden": 64, "hidden_layers": 2}


def test_an_option_of_an_option_is_read_as_in_a_config(workdir):
    Path("mixture.yaml").write_text(yaml.safe_dump(MIXTURE))
    mixture = ["-c", "mixture.yaml"]
    bound = "--model.flow_options.univariate_options.bound"
    for words in ([bound, "3.5"], [f"{bound}=3.5"], [bound, "7", bound, "3.5"]):
        assert model(*mixture, *words)["flow_options"] == {
            "univariate": "spline",
            "univariate_options": {"bins": 24, "bound": 3.5},
        }
    assert model(*mixture, bound, "1e1")["flow_options"]["univariate_options"]["bound"] == 10.0
    assert model(*mixture, "--model.flow_options.univariate", "logistic")["flow_options"] == {"univariate": "logistic"}
    fresh = model("--model.flow", "coupling", "--model.flow_options.univariate_options.bins", 4)
    assert fresh["flow_options"] == {"univariate_options": {"bins": 4}}
    with pytest.raises(ValueError, match=r"cannot read the value of --model.flow_options.univariate_options.bound"):
        model(*mixture, bound, "[")


def test_the_readmes_example_runs(cli, mnist_root):
    arguments = [
        "-c",
        BASE,
        "-c",
        RELU,
        "-c",
        IAF,
        "--model.flow",
        "planar",
        "--model.depth",
        10,
        "--data.root",
        mnist_root,
    ]
    code, _, error = cli("fit", *arguments, "--trainer.fast_dev_run", "true")
    assert code == 0, error


def test_what_follows_from_other_settings_is_no_setting(cli):
    for words in (["--model.shape", "[8, 8]"], ["--data.seed", 3]):
        code, _, error = cli("fit", *words)
        assert code == 2
        assert words[0].removeprefix("--").split(".")[1] in error
    code, _, error = cli("fit", "--task", "distill", "--model.teacher", "runs/t", "--model.latent", 3)
    assert code == 2
    assert "latent" in error


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- 1", "should hold settings by name"),
        ("model: [1]", "should hold settings by name"),
        ("model: {", "cannot read bad.yaml"),
        ("\x00", "cannot read bad.yaml"),
        ("task: vea", "unknown task 'vea'; known tasks: vae"),
        ("nothing: 1", "nothing"),
        ("model: {depth: null}", "model.depth is null; expected a value, as 4"),
        ("trainer: {devices: null}", "trainer.devices is null; expected a value, as auto"),
        ("ckpt_path: runs/x", "names a ckpt_path: give it as an argument, --ckpt_path runs/x"),
        ("name: ''", "a run's name is a folder within the folder of runs, such as mine or group/mine; got ''"),
        ("name: ..", "a run's name is a folder within"),
        ("name: /tmp/x", "a run's name is a folder within"),
    ],
)
def test_a_bad_config_gets_one_line(content, message, cli, workdir):
    Path("bad.yaml").write_text(content)
    code, _, error = cli("fit", "-c", "bad.yaml")
    assert_one_line(code, error, message)


def test_an_empty_section_is_no_section(workdir):
    Path("empty.yaml").write_text("model:\ndata:\n")
    assert model("-c", "empty.yaml")["flow"] == "iaf"


def test_help_comes_in_the_readers_order_and_names_the_choices(capsys):
    for words, first, absent in ((["--help"], "--model.flow", "trainer.max_epochs"),
                                 (["--help.trainer"], "--trainer.max_epochs", "model.flow ")):  # fmt: skip
        with pytest.raises(SystemExit) as caught:
            Plan(words)
        text = capsys.readouterr().out
        assert caught.value.code == 0
        assert first in text
        assert absent not in text
        if words == ["--help"]:
            assert f"Known: {', '.join(FLOWS)}, or" in " ".join(text.split())
            assert text.index("--name") < text.index("--model.flow ") < text.index("--data.dataset ")


def test_settings_that_mean_nothing_in_a_loop_are_not_offered(run, cli):
    for command in ("test", "validate", "predict"):
        for setting in ("--model.lr", "--trainer.max_epochs", "--data.batch_size", "--overwrite"):
            code, _, error = cli(command, RUN, setting, 1)
            assert_one_line(code, error, setting.rpartition(".")[2])
        with pytest.raises(SystemExit):
            cli(command, "--help")


def test_the_saved_config_reads_as_it_was(fit, cli):
    assert fit("--model.flow_options.hidden", 12, "--name", "mine")[0] == 0
    saved = yaml.safe_load(Path("runs/mine/config.yaml").read_text())
    again = Plan(["-c", "runs/mine/config.yaml"]).settings
    assert {key: again[key] for key in ("model", "data", "seed_everything", "name", "task")} == {
        key: saved[key] for key in ("model", "data", "seed_everything", "name", "task")
    }


def test_a_name_with_a_point_is_a_setting_of_its_section(workdir):
    Path("dotted.yaml").write_text("model.flow: planar\nmodel.depth: 3\n")
    found = model("-c", BASE, "-c", IAF, "-c", "dotted.yaml")
    assert (found["flow"], found["depth"], found["flow_options"]) == ("planar", 3, None)


LAUGHS = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{after}: &{after} [{', '.join(['*' + name] * 10)}]\n" for name, after in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "more than 10,000 settings"),
        ("model: &m {flow_options: *m}\n", "cannot read bad.yaml"),
        ("model: {depth: 2, depth: 3}\n", "cannot read bad.yaml: depth is set twice"),
        ("seed_everything: 1\nseed_everything: 2\n", "cannot read bad.yaml: seed_everything is set twice"),
    ],
)
def test_a_yaml_that_stands_for_something_else_gets_one_line(text, message, cli):
    Path("bad.yaml").write_text(text)
    code, _, error = cli("fit", "-c", "bad.yaml")
    assert_one_line(code, error, message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.latent", 1_000_000], "the model has .* weights, which take .* GiB of memory in training"),
        (["--model.flow_options.hidden", 1_000_000], "weights, which take"),
        (["--model.samples", 1_000_000], "1,000,000 samples of batches of 128 images take .* GiB of memory at least"),
        (["--model.depth", 10**9], "a flow's depth must be at most 1,000; got 1000000000"),
        (["--model.flow_options.features", 3], "unknown option 'features' of flow 'iaf'"),
        (["--model.optimizer", "torch.optim:SparseAdam"], "SparseAdam"),
        (["--model.optimizer_options.amsgrad", 3], "optimizer 'adam'"),
        (["--model.schedule", "torch.optim.lr_scheduler:StepLR"], "cannot build schedule .* 'step_size'"),
        (["--model.optimizer_options.weight_decay", "1e400"], "optimizer_options.weight_decay must be"),
        (["--trainer.precision", "16-true"], "precision 16-true keeps weights"),
        (["--name", "x" * 250], "a run's name has at most 200 bytes"),
        (["--name", "a\x1b[31mb"], "a run's name is a folder within the folder of runs"),
        (["--model.flow", "x" * 5000], r"unknown flow 'x{39}\.\.\.x+'"),
        (["--trainer.num_nodes", 2], "trainer.num_nodes above 1 waits for other machines"),
        (["--trainer.accelerator", "cpu", "--trainer.devices", 999], "more processes than this machine can run"),
        (["--trainer.overfit_batches", 1], "trainer.overfit_batches cannot cut these data"),
    ],
)
def test_what_cannot_fit_or_begin_is_refused_at_once(arguments, message, cli):
    code, _, error = cli("fit", "--data.dataset", "digits", *arguments)
    assert_one_line(code, error, message)
    assert not Path("runs").exists()


CALLBACKS = {
    "EMAWeightAveraging": {},
    "EarlyStopping": {"monitor": "val/elbo"},
    "LearningRateMonitor": {},
    "ModelCheckpoint": {"save_top_k": -1},
    "RichProgressBar": {},
    "StochasticWeightAveraging": {"swa_lrs": 1e-3},  # whose device has no text
}


@pytest.mark.parametrize("name", CALLBACKS)
def test_what_print_config_prints_can_be_read_again(name, workdir, capsys, recwarn):
    words = [f"--trainer.callbacks.{option}={value}" for option, value in CALLBACKS[name].items()]
    with pytest.raises(SystemExit):
        Plan(["-c", str(BASE), f"--trainer.callbacks+={name}", *words, "--print_config"])
    printed = capsys.readouterr().out
    assert "Unable" not in printed
    assert not recwarn
    Path("mine.yaml").write_text(printed)
    again = Plan(["-c", "mine.yaml"])
    assert [each["class_path"].rpartition(".")[2] for each in again.settings["trainer"]["callbacks"]] == [name]


DEEP = "[" * 400 + "]" * 400


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", "deep.yaml"],
        ["-c", "far.yaml"],
        ["--model.flow_options", "[" * 50_000],
        ["--model.flow_options", DEEP],
        ["--model.flow_options.a.b", "[" * 50_000],
        ["--model.flow_options.a.b", DEEP],
    ],
    ids=["400 levels", "50,000 levels", "open", "closed", "open inside", "closed inside"],
)
def test_settings_that_are_nested_beyond_measure_get_one_line(arguments, cli):
    Path("deep.yaml").write_text("model: {flow_options: " + "{a: " * 400 + "1" + "}" * 401)
    Path("far.yaml").write_text("[" * 50_000)
    code, _, error = cli("fit", "-c", QUICKSTART, *arguments)
    assert_one_line(code, error, "nested too deeply|takes")


@pytest.mark.parametrize("word", ["None", "null"])
def test_none_and_null_are_nothing(word, cli):
    names = ("model.start", "data.root", "ckpt_path")
    nothing = [f"--{name}={word}" for name in names]
    code, _, error = cli("fit", "-c", QUICKSTART, *nothing, "--trainer.fast_dev_run", "true")
    assert code == 0, error


def test_a_config_may_say_none_as_python_does(cli):
    Path("c.yaml").write_text("model: {start: None}\ndata: {root: 'null'}")
    code, _, error = cli("fit", "-c", QUICKSTART, "-c", "c.yaml", "--trainer.max_epochs", 1)
    assert code == 0, error
    saved = yaml.safe_load(Path("runs/digits-iaf-4-seed0/config.yaml").read_text())
    assert (saved["model"]["start"], saved["data"]["root"]) == (None, None)
