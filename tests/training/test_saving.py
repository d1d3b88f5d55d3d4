"""What a checkpoint holds of a module, and how a module comes back from one."""

from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from nfvae import DataModule, FlowVAE, Run
from nfvae.models import DataSpec
from nfvae.registry import check_number, check_sizes, plain
from tests.helpers.training import NARROW, digits, module, trainer

SCHEDULERS = "torch.optim.lr_scheduler"


def trained(folder, given=None, data=None, **options):
    """Train for a step, and return where the checkpoint lies."""
    run = trainer(folder, limit_train_batches=1, limit_val_batches=1)
    run.fit(module(depth=1) if given is None else given, data or digits(), **options)
    return run.checkpoint_callback.best_model_path


def test_settings_of_numpy_and_pathlib_are_kept_as_plain_ones(tmp_path):
    given = module(
        flow=np.str_("planar"),
        depth=np.int64(1),
        lr=np.float64(1e-3),
        samples=np.int32(2),
        objective_options={np.str_("beta"): np.float32(0.5)},
        optimizer_options={"betas": (np.float64(0.9), 0.999), "amsgrad": np.bool_(False)},
        encoder_options={"hidden": np.array([16]), "dropout": np.float64(0.1)},
        decoder_options={"hidden": (np.int64(16),)},
        shape=torch.zeros(8, 8).shape,
    )
    root = Path("somewhere")
    data = DataModule(np.str_("digits"), batch_size=np.int64(256), seed=np.int64(3), root=root)
    run = Run(trained(tmp_path, given, data))
    expected = {
        "flow": "planar",
        "depth": 1,
        "lr": 1e-3,
        "objective_options": {"beta": 0.5},
        "optimizer_options": {"betas": [0.9, 0.999], "amsgrad": False},
        "encoder_options": {"hidden": [16], "dropout": 0.1},
        "decoder_options": {"hidden": [16]},
        "shape": [8, 8],
    }
    assert {name: run.settings[name] for name in expected} == expected
    assert {name: run.data_settings[name] for name in ("seed", "root")} == {"seed": 3, "root": "somewhere"}
    assert all(type(each) in (str, int, float) for each in map(run.settings.get, ("flow", "depth", "lr", "samples")))
    assert {type(each.p) for each in given.model.modules() if isinstance(each, nn.Dropout)} == {float}
    assert run.vae().spec == DataSpec((8, 8))
    assert FlowVAE.load_from_checkpoint(run.path).hparams["lr"] == 1e-3
    trained(tmp_path, given, digits(seed=np.int64(3)), ckpt_path=run.path)


def test_the_settings_of_vectors_are_plain_too():
    given = DataModule(np.str_("mixture"), dataset_options={"count": np.int64(10)}, seed=np.int64(1))
    assert [type(given.hparams[name]) for name in ("dataset", "seed")] == [str, int]
    assert type(given.hparams["dataset_options"]["count"]) is int


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.array(2.0), 2.0),
        (torch.tensor(3), 3),
        (range(3), [0, 1, 2]),
        ({"a": (Path("x"), None, {"b": np.uint8(1)})}, {"a": ["x", None, {"b": 1}]}),
        (np.longdouble(0.5), 0.5),
        (float("inf"), float("inf")),
    ],
)
def test_a_setting_becomes_plain(value, expected):
    found = plain(value)
    assert (found, type(found)) == (expected, type(expected))


class Endless(list):
    """A list that holds itself."""

    def __init__(self):
        super().__init__([self])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder_options": {"hidden": [16], "activation": nn.ReLU()}}, "encoder_options.activation is of type ReLU"),
        ({"lr": 1j}, "setting lr is of type complex, which a checkpoint cannot hold"),
        ({"flow_options": {"hidden": {16}}}, "flow_options.hidden is of type set"),
        ({"start": b"x"}, "setting start is of type bytes"),
        ({"milestones": Endless()}, "setting milestones is nested deeper than 50 levels"),
        ({"prior_options": {"loc": nn.Parameter(torch.zeros(2))}}, "prior_options.loc is of type Parameter"),
    ],
)
def test_a_setting_that_no_checkpoint_holds_is_refused_before_training(options, message):
    with pytest.raises(ValueError, match=message):
        module(**options)


def test_numbers_of_numpy_are_numbers():
    check_sizes(depth=np.int64(2))
    check_number("beta", np.float32(0.5), above=0)
    for wrong in (True, np.bool_(True), "1", None, np.float64("nan"), 10**400):
        with pytest.raises(ValueError, match="x must be"):
            check_number("x", wrong)
    with pytest.raises(ValueError, match=r"depth must be a whole number; got 2\.0"):
        check_sizes(depth=2.0)
    with pytest.raises(ValueError, match="samples must be a whole number"):
        module(val_samples=1.5)


def compiled(given):
    given.model = torch.compile(given.model, backend="eager")


def weight_norm(given):
    nn.utils.parametrizations.weight_norm(given.model.decoder.head)


def widened(given):
    given.model.decoder.head = nn.Linear(16, 65)


def parallel(given):
    given.model = nn.DataParallel(given.model)


CHANGES = {
    compiled: "compiled by torch.compile: train it as it was built, with compile=True",
    weight_norm: r"settings do not explain the weights model.decoder.head.bias|parametrizations",
    widened: "settings do not explain the weights model.decoder.head.weight",
    parallel: "settings do not explain the weights model",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_model_that_no_settings_explain_is_not_trained(change, tmp_path):
    given = module(depth=1)
    change(given)
    with pytest.raises(ValueError, match=CHANGES[change]):
        trained(tmp_path, given)
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_module_that_is_compiled_as_a_whole_is_trained(tmp_path):
    given = module(depth=1)
    with torch.compiler.set_stance("force_eager"):
        path = trained(tmp_path, torch.compile(given, backend="eager"))
    assert torch.equal(Run(path).vae().decoder.head.bias, given.model.decoder.head.bias)


class Noted(FlowVAE):
    """A subclass with a setting and weights of its own."""

    def __init__(self, note="", **rest):
        super().__init__(**rest)
        self.extra = nn.Linear(2, 2)
        self.model.decoder.head = nn.utils.parametrizations.weight_norm(self.model.decoder.head)


def test_a_subclass_may_have_weights_of_its_own(tmp_path):
    sizes = {"latent": 4, "context": 5, "shape": (8, 8), "encoder_options": NARROW, "decoder_options": NARROW}
    given = Noted("mine", flow="planar", depth=1, **sizes)
    loaded = Noted.load_from_checkpoint(trained(tmp_path, given))
    assert loaded.hparams["note"] == "mine"
    assert torch.equal(loaded.extra.weight, given.extra.weight)


def test_looking_whether_a_model_can_be_loaded_draws_no_random_numbers(tmp_path):
    given = module(depth=1)
    run = trainer(tmp_path, fast_dev_run=True)
    given.trainer = run
    before = torch.get_rng_state()
    given.setup("fit")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("kept"))


HARMLESS = [
    {"strict": True, "weights_only": True, "hparams_file": None},
    {"strict": None, "weights_only": None},
    {"map_location": {"cuda:0": "cpu"}},
    {"map_location": lambda storage, location: storage},
    {"map_location": torch.device("cpu")},
    {"map_location": "cpu"},
    {"test_samples": 5},
]


@pytest.mark.parametrize("arguments", HARMLESS, ids=lambda given: " ".join(given))
def test_arguments_that_change_nothing_are_taken(arguments, path):
    loaded = FlowVAE.load_from_checkpoint(path, **arguments)
    expected = torch.load(path, weights_only=True)["state_dict"]["model.decoder.head.bias"]
    assert torch.equal(loaded.model.decoder.head.bias, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strict": False}, "takes no other strict than its default"),
        ({"weights_only": False}, "takes no other weights_only than its default"),
        ({"hparams_file": "x.yaml"}, "takes no other hparams_file than its default"),
        ({"latnet": 3}, "unknown hyperparameter 'latnet'; known hyperparameters: .*flow.*; did you mean latent?"),
        ({"map_location": "cdua"}, "cannot load to 'cdua': "),
        ({"map_location": "cuda:99"}, "cannot load to 'cuda:99': "),
        ({"test_samples": "x"}, "test_samples must be a whole number; got 'x'"),
        ({"milestones": None}, r"milestones takes epochs, as \[20, 40\]; got None"),
    ],
)
def test_other_arguments_are_refused_in_a_sentence(arguments, message, path):
    with pytest.raises(ValueError, match=message):
        FlowVAE.load_from_checkpoint(path, **arguments)


def test_an_open_file_is_no_run(path):
    with open(path, "rb") as file, pytest.raises(ValueError, match="as its folder or a checkpoint's path; got <_io"):
        FlowVAE.load_from_checkpoint(file)


class Counts(pl.Callback):
    """A callback whose state grows, and changes its sign."""

    def __init__(self):
        self.seen, self.best = [], 0.0

    def on_train_epoch_end(self, trainer, pl_module):
        self.seen, self.best = [*self.seen, trainer.current_epoch], self.best - 1.0

    def state_dict(self):
        return {"seen": self.seen, "best": self.best}

    def load_state_dict(self, state_dict):
        self.seen, self.best = state_dict["seen"], state_dict["best"]


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "torch.optim:SGD", "optimizer_options": {"momentum": 0.9}},
        {"optimizer": "torch.optim:Adafactor"},
        {"optimizer": "torch.optim:LBFGS", "optimizer_options": {"max_iter": 2}},
        {"optimizer": "adamax", "schedule": "cosine"},
        {"optimizer": "adamw", "schedule": "multistep", "milestones": (1, 3), "optimizer_options": {"amsgrad": True}},
        {
            "optimizer": "adam",
            "schedule": f"{SCHEDULERS}:ExponentialLR",
            "schedule_options": {"gamma": 0.5},
        },
        {"optimizer": "adam", "schedule": f"{SCHEDULERS}:CosineAnnealingWarmRestarts", "schedule_options": {"T_0": 2}},
    ],
    ids=lambda options: "-".join([options["optimizer"], options.get("schedule", "")]),
)
def test_every_optimizer_and_own_callbacks_go_on(options, tmp_path):
    counts, last = [Counts(), Counts()], None
    for epochs, callback in enumerate(counts, 1):
        run = trainer(tmp_path, epochs, callbacks=[callback], limit_train_batches=2, limit_val_batches=1)
        run.fit(module(depth=1, **options), digits(), ckpt_path=last)
        last = run.checkpoint_callback.best_model_path
    assert (counts[1].seen, counts[1].best) == ([0, 1], -2.0)
