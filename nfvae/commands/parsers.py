"""The parser of a training, and the check of its settings."""

import re
import warnings
from argparse import ArgumentError
from collections.abc import Mapping
from typing import Any, get_args

import pytorch_lightning as pl
import yaml
from jsonargparse import ArgumentParser, Namespace, set_dumper
from typing_extensions import override

from nfvae.commands.arguments import TRUST_HELP, offer
from nfvae.commands.messages import TRAINER_HELP, in_plain_words
from nfvae.commands.settings import NULL, Sources
from nfvae.data import DATASETS, DataModule
from nfvae.estimators import GRADIENTS, OBJECTIVES
from nfvae.flows import BASES, FLOWS
from nfvae.models import DECODERS, ENCODERS, LIKELIHOODS, PRIORS, DataSpec
from nfvae.registry import OWN
from nfvae.runs.yamls import dump_yaml
from nfvae.targets import TARGETS
from nfvae.training import TASKS, TrainingModule
from nfvae.version import __version__

_CHOICES: dict[str, Mapping[str, str]] = {
    "model.flow": FLOWS,
    "model.base": BASES,
    "model.target": TARGETS,
    "model.encoder": ENCODERS,
    "model.decoder": DECODERS,
    "model.likelihood": LIKELIHOODS,
    "model.prior": PRIORS,
    "model.objective": OBJECTIVES,
    "model.gradient": GRADIENTS,
    "data.dataset": DATASETS,
}
_OF_DENSITIES = {"data.dataset": "two_moons", "data.batch_size": 500, "data.eval_batch_size": 10_000}
_USUAL = {
    "density": _OF_DENSITIES,
    "distill_density": _OF_DENSITIES,
    "energy": _OF_DENSITIES | {"data.dataset": "noise"},
}
_TRAINER = {"trainer.default_root_dir": "runs", "trainer.max_epochs": 100, "trainer.log_every_n_steps": 50}
_WITHOUT_TEXT = re.compile(r"^ *\w+: Unable to serialize instance .*\n", re.MULTILINE)


set_dumper("yaml", dump_yaml)


class TrainingParser(ArgumentParser):
    """A parser that can read the settings that it writes."""

    @override
    def dump(self, *args: Any, **kwargs: Any) -> str:
        """Return settings as YAML, without those that cannot be written, such as a device that is a default."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"\s*Unable to serialize instance")
            return _WITHOUT_TEXT.sub("", str(super().dump(*args, **kwargs)))


def parse(sources: Sources, module: type[TrainingModule]) -> tuple[ArgumentParser, Namespace]:
    """Check the settings, and return the parser and the parsed settings.

    Raises:
        ValueError: if a setting is unknown or of a wrong type.
    """
    parser = training_parser(module)
    if {"-h", "--help", TRAINER_HELP} & set(sources.words):
        print(_help(parser, {"trainer"} if TRAINER_HELP in sources.words else {None, "model", "data"}))
        raise SystemExit(0)
    try:
        settings = dump_yaml(sources.settings | {"task": module.task})
        parsed = parser.parse_args(["--config", settings, *sources.words])
    except ArgumentError as error:
        raise ValueError(in_plain_words(str(error), parser)) from error
    except yaml.representer.RepresenterError as error:  # from a plain Lightning run
        raise ValueError(
            f"a setting of the checkpoint cannot be written in a config: {error.args[-1]!r:.60}"
        ) from error
    except RecursionError:
        raise ValueError("the settings are nested too deeply") from None
    for action in parser._actions:
        hint = get_args(getattr(action, "_typehint", None))
        if str in hint and type(None) in hint and parsed.get(action.dest) in NULL:
            parsed[action.dest] = None
    for name, default in parser.get_defaults().items():
        if default is not None and parsed[name] is None:
            raise ValueError(f"{name} is null; expected a value, as {default}")
    return parser, parsed


def training_parser(module: type[TrainingModule]) -> ArgumentParser:
    """Return the parser of a training: every setting of the module, its data and the trainer."""
    parser = TrainingParser(
        prog="nfvae fit",
        usage="nfvae fit [-c CONFIG ...] [--ckpt_path RUN] [--model.NAME VALUE ...] [--data.NAME VALUE ...] ...",
        description=f"Train a model, or resume a training. {TRAINER_HELP} lists the settings of Lightning's Trainer.",
        exit_on_error=False,
        allow_abbrev=False,
        version=__version__,
    )
    parser.add_argument("--task", type=str, default=module.task, help=f"Kind of training: {', '.join(TASKS)}.")
    parser.add_argument("-c", "--config", action="config", help="Config file, repeatable: later ones win.")
    parser.add_argument("--ckpt_path", type=str | None, help="Run or checkpoint to resume.")
    parser.add_argument("--trust", nargs="+", metavar="CLASS", help=TRUST_HELP.partition(" (")[0])
    parser.add_argument("--name", type=str, help="Name of the run: its folder in trainer.default_root_dir.")
    parser.add_argument("--seed_everything", type=int, default=0, help="Random seed.")
    parser.add_argument("--overwrite", type=bool, default=False, help="Replace an existing run of the same name.")
    parser.add_argument("--norms", type=bool, default=False, help="Also log the norms of gradients and parameters.")
    parser.add_argument("--artifacts", type=bool, default=False, help="Also upload checkpoints and config to wandb.")
    parser.add_class_arguments(
        module, "model", skip={*DataSpec._fields, *module.from_teacher}, instantiate=False, fail_untyped=False
    )
    parser.add_class_arguments(DataModule, "data", skip={"seed"}, instantiate=False)
    parser.add_class_arguments(pl.Trainer, "trainer", instantiate=False, fail_untyped=False)
    parser.set_defaults(_TRAINER | _USUAL.get(module.task, {}))
    _name_choices(parser, _CHOICES)
    return parser


def _name_choices(parser: ArgumentParser, choices: Mapping[str, Mapping[str, str]]) -> None:
    """List the known names in the help."""
    for action in parser._actions:
        if action.dest in choices:
            offer(action, choices[action.dest])
            action.help = f"{action.help} Known: {', '.join(choices[action.dest])}, or {OWN}."


def _help(parser: ArgumentParser, shown: set[str | None]) -> str:
    """Return the help of some groups of settings; None stands for settings outside every group."""
    titles = {group.title: name for name, group in (parser.groups or {}).items()}
    for group in parser._action_groups:
        name = titles.get(group.title)
        group.title = f"{name}: {group.title}" if name else group.title
        if name not in shown:
            group.title, group.description, group._group_actions = None, None, []
    return str(parser.format_help())
