"""The settings of a training, out of configs, the run that goes on, and the command line."""

import json
import os
import re
import warnings
from argparse import ArgumentError
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

import pytorch_lightning as pl
import torch
import yaml
from jsonargparse import ArgumentParser, Namespace, set_dumper
from typing_extensions import override

from nfvae.commands import with_home
from nfvae.commands.arguments import TRUST_HELP, Parser, meant, offer
from nfvae.data import DATASETS, TOYS
from nfvae.estimators import GRADIENTS, OBJECTIVES
from nfvae.flows import FLOWS
from nfvae.models import DECODERS, ENCODERS, PRIORS, DataSpec
from nfvae.registry import OWN, check_number, check_trusted, class_paths, options_of, trust
from nfvae.runs import Run
from nfvae.runs.run import DATA
from nfvae.runs.trust import trained_with
from nfvae.runs.yamls import dump_yaml, load_yaml, read_yaml
from nfvae.training import TASKS, TrainingModule
from nfvae.version import __version__

_SECTIONS = ("model", "data", "trainer")
_CHOICES: dict[str, Mapping[str, str]] = {
    "model.flow": FLOWS,
    "model.encoder": ENCODERS,
    "model.decoder": DECODERS,
    "model.prior": PRIORS,
    "model.objective": OBJECTIVES,
    "model.gradient": GRADIENTS,
}
_TRAINER = {"trainer.default_root_dir": "runs", "trainer.max_epochs": 100, "trainer.log_every_n_steps": 50}
_TRAINER_HELP = "--help.trainer"
_LONGEST_HINT = 60  # characters of a type that a message says
_NOT_ZERO = ("max_epochs", "max_steps")
_POSITIVE = (
    *("limit_train_batches", "limit_val_batches", "val_check_interval", "check_val_every_n_epoch"),
    *("log_every_n_steps", "accumulate_grad_batches", "num_nodes"),
)
_CLUSTERS = {"MASTER_ADDR", "SLURM_NTASKS", "LSB_JOBID"}  # variables where somebody starts the processes
_VECTORS = (
    ": a density is trained on vectors, which no file gives yet: --data.dataset takes a toy data set, "
    "or package.module:Class, a class of your own that draws them"
)
_ALWAYS_ALLOWED = 8  # processes, even of one processor
_WITHOUT_TEXT = re.compile(r"^ *\w+: Unable to serialize instance .*\n", re.MULTILINE)
_DEEP = re.compile(r"--(?:model|data)(?:\.\w+){3,}(?:=.*)?", re.DOTALL)
_NULL = ("None", "null")  # how Python and YAML spell that there is nothing
_DOTTED = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\.([A-Za-z_]\w*)")
_NAME = re.compile(r"--((?:model|data)(?:\.\w+)+)(?:=(.*))?", re.DOTALL)


set_dumper("yaml", dump_yaml)


class TrainingParser(ArgumentParser):
    """A parser whose settings, once written, can be read again."""

    @override
    def dump(self, *args: Any, **kwargs: Any) -> str:
        """Return settings as YAML; those that have no text, as a device that is a default, are left out."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"\s*Unable to serialize instance")
            return _WITHOUT_TEXT.sub("", str(super().dump(*args, **kwargs)))


class Sources(NamedTuple):
    """What was given, before it is checked.

    Attributes:
        settings: of the run that goes on, and of the configs over it.
        run: the run that goes on.
        words: the other arguments.
    """

    settings: dict[str, Any]
    run: Run | None
    words: list[str]


def read_sources(arguments: Sequence[str]) -> Sources:
    """Read the configs and the checkpoint that arguments name; later configs win over earlier ones.

    Raises:
        FileNotFoundError: if there is no such config or checkpoint.
        ValueError: if one is damaged.
    """
    parser = Parser(add_help=False)
    parser.add_argument("-c", "--config", type=Path, action="append", default=[])
    parser.add_argument("--ckpt_path", type=lambda word: None if word in _NULL else Path(word))
    parser.add_trust()
    options, words = parser.parse_known_args(list(arguments))
    configs = [read_config(path) for path in options.config]
    trust(class_paths([*configs, *(word.rpartition("=")[2] for word in words)]))
    run = Run(options.ckpt_path, last=True) if options.ckpt_path else None
    settings = settings_of(run) if run else {}
    for config in configs:
        settings = merge(settings, config)
    settings = _without_dropped_options(settings, words)
    return Sources(settings, run, _with_deep_values(settings, words))


def read_config(path: Path) -> dict[str, Any]:
    """Read a config.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is no YAML, or not made of sections.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no config {path}")
    content = with_home(read_yaml(path))
    if not all(isinstance(content.get(name), dict | None) for name in _SECTIONS):
        raise ValueError(f"cannot read {path}: {', '.join(_SECTIONS)} should hold settings by name")
    if content.get("ckpt_path") is not None:
        raise ValueError(f"config {path} names a ckpt_path: give it as an argument, --ckpt_path {content['ckpt_path']}")
    return _nested({name: value for name, value in content.items() if name not in _SECTIONS or value is not None})


def _nested(content: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a name with a point, as model.flow, into a setting of its section."""
    settings: dict[str, Any] = {}
    for name, value in content.items():
        section, _, inner = str(name).partition(".")
        settings = merge(settings, {section: {inner: value}} if inner and section in _SECTIONS else {name: value})
    return settings


def settings_of(run: Run) -> dict[str, Any]:
    """Return the settings under which a run was trained, named after the folder in which it lies now."""
    saved = run.folder.settings()
    check_trusted(sorted(named_classes(saved)), run.folder.config, trained_with(run.folder))
    if not saved:  # a plain Lightning run: what the checkpoint says
        derived = {*DataSpec._fields, *TASKS.load(run.task).from_teacher}
        known = {name: value for name, value in run.settings.items() if name not in derived}
        data = {name: value for name, value in run.data_settings.items() if name != "seed"}
        saved = {"task": run.task, "model": known, "data": data, "seed_everything": run.data_settings.get("seed", 0)}
    path = run.folder.path if run.folder.path.name else run.folder.path.resolve()
    return merge(saved, {"name": path.name, "trainer": {"default_root_dir": str(path.parent)}})


def named_classes(settings: Mapping[str, Any]) -> set[str]:
    """Find every class that a training's settings name; those of the trainer are spelled package.module.Class."""
    trainer = dict(settings.get("trainer") or {}) | {"default_root_dir": None}
    return class_paths(settings) | set(_dotted_classes(trainer))


def _dotted_classes(settings: Any) -> Iterator[str]:
    if isinstance(settings, Mapping | list | tuple):
        for each in settings.values() if isinstance(settings, Mapping) else settings:
            yield from _dotted_classes(each)
    elif isinstance(settings, str) and (found := _DOTTED.fullmatch(settings)):
        yield f"{found[1]}:{found[2]}"


def merge(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Put settings over earlier ones, sections and options key by key.

    Another name for a role drops the options of the earlier one; null drops all options.
    """
    merged = dict(earlier)
    for name, value in later.items():
        merged = dict(_without_options(merged, name, value))
    for name, value in later.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        by_key = both and (name in _SECTIONS or str(name).endswith("_options"))
        merged[name] = merge(merged[name], value) if by_key else value
    return merged


def _without_options(settings: Mapping[str, Any], name: str, value: Any) -> Mapping[str, Any]:
    """Return settings without the options of a name that gets another value."""
    if settings.get(name) == value:
        return settings
    return {each: one for each, one in settings.items() if each != f"{name}_options"}


def _without_dropped_options(settings: dict[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """Drop the options of what gets another name on the command line: a role, as model.flow, or a univariate map."""
    for place, word in enumerate(words):
        if found := _NAME.fullmatch(word):
            *outer, name = found[1].split(".")
            value = found[2] if found[2] is not None else next(iter(words[place + 1 : place + 2]), None)
            held: Any = settings
            for each in outer:
                held = held.get(each) if isinstance(held, Mapping) else None
            if isinstance(held, Mapping):
                settings = _put(settings, outer, _without_options(held, name, value))
    return settings


def _with_deep_values(settings: Mapping[str, Any], words: Sequence[str]) -> list[str]:
    """Write --model.flow_options.a.b 4 as --model.flow_options.a {b: 4}, as jsonargparse takes the deeper 4 as text."""
    remaining, written = iter(words), []
    for word in remaining:
        if not _DEEP.fullmatch(word):
            written.append(word)
            continue
        name, equals, value = word.partition("=")
        names = name.removeprefix("--").split(".")
        try:
            settings = _put(settings, names, load_yaml(value if equals else next(remaining, "")))
        except yaml.YAMLError as error:
            raise ValueError(f"cannot read the value of {name}: {' '.join(str(error).split())}") from error
        section, role, option = names[:3]
        written += [f"--{section}.{role}.{option}", json.dumps(settings[section][role][option])]
    return written


def _put(settings: Mapping[str, Any], names: Sequence[str], value: Any) -> dict[str, Any]:
    """Return settings with one of them, inside of others, replaced."""
    first, *inner = names
    held = settings.get(first)
    return {**settings, first: _put(held if isinstance(held, Mapping) else {}, inner, value) if inner else value}


def task_of(sources: Sources) -> type[TrainingModule]:
    """Return the class of what is trained.

    Raises:
        ValueError: for an unknown task.
    """
    parser = Parser(add_help=False)
    parser.add_argument("--task")
    task = parser.parse_known_args(sources.words)[0].task or sources.settings.get("task", "vae")
    return TASKS.load(str(task))


def parse(sources: Sources, module: type[TrainingModule]) -> tuple[ArgumentParser, Namespace]:
    """Check the settings against what there is to set, and return the parser with them.

    Raises:
        ValueError: for a setting that is unknown or of a wrong type.
    """
    parser = training_parser(module)
    if {"-h", "--help", _TRAINER_HELP} & set(sources.words):
        print(_help(parser, {"trainer"} if _TRAINER_HELP in sources.words else {None, "model", "data"}))
        raise SystemExit(0)
    try:
        settings = dump_yaml(sources.settings | {"task": module.task})
        parsed = parser.parse_args(["--config", settings, *sources.words])
    except ArgumentError as error:
        unknown = re.match(r"unrecognized arguments: --data\.(\w+)", str(error))
        if unknown and unknown[1] in options_of(DATA["vae"]):
            raise ValueError(f"{error}{_VECTORS}") from error
        raise ValueError(in_plain_words(str(error), parser)) from error
    except yaml.representer.RepresenterError as error:  # of a plain Lightning run
        raise ValueError(
            f"a setting of the checkpoint cannot be written in a config: {error.args[-1]!r:.60}"
        ) from error
    except RecursionError:
        raise ValueError("the settings are nested too deeply") from None
    for action in parser._actions:
        hint = get_args(getattr(action, "_typehint", None))
        if str in hint and type(None) in hint and parsed.get(action.dest) in _NULL:
            parsed[action.dest] = None
    for name, default in parser.get_defaults().items():
        if default is not None and parsed[name] is None:
            raise ValueError(f"{name} is null; expected a value, as {default}")
    return parser, parsed


def in_plain_words(message: str, parser: ArgumentParser) -> str:
    """Say of jsonargparse's message which setting takes what, and what was given."""
    message += meant(message, parser)
    found = re.search(r'key "([\w.]+)":.*?(?:Given value|Got value): (.*)', message, re.DOTALL)
    if not found:
        return message
    name, value = found.groups()
    hints = [getattr(action, "_typehint", None) for action in parser._actions if action.dest == name]
    expected = _type_in_words(hints[0]) if hints else ""
    if not 0 < len(expected) <= _LONGEST_HINT:
        expected = f"what {_TRAINER_HELP if name.startswith('trainer') else '--help'} says"
    return f"{name} takes {expected}; got {next(iter(value.splitlines()), '')!r}"


def _type_in_words(hint: Any) -> str:
    """Write a type as its names alone, as `int or null`."""
    if isinstance(hint, type) and not get_args(hint):
        return "null" if hint is type(None) else hint.__name__
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(map(_type_in_words, get_args(hint)))
    return re.sub(r"[\w.]+\.(\w+)", r"\1", str(hint))


def check_trainer(settings: Mapping[str, Any]) -> None:
    """Refuse what Lightning's Trainer takes without a word, and then trains nothing, fails late or never begins.

    Args:
        settings: of the trainer, by name.

    Raises:
        ValueError: for such a setting.
    """
    for name in _NOT_ZERO:
        if settings[name] == 0 or (settings[name] or 1) < -1:
            raise ValueError(f"trainer.{name} must be at least 1, or -1 for no limit; got {settings[name]}")
    for name in _POSITIVE:
        if settings[name] is not None and not isinstance(settings[name], str | dict):
            check_number(f"trainer.{name}", settings[name], above=0)
    if 0 < settings["max_epochs"] < (every := settings["check_val_every_n_epoch"]):
        raise ValueError(
            f"trainer.check_val_every_n_epoch {every} is never reached: max_epochs {settings['max_epochs']}"
        )
    if settings["gradient_clip_val"] is not None:
        check_number("trainer.gradient_clip_val", settings["gradient_clip_val"], least=0)
    if settings["overfit_batches"]:
        raise ValueError("trainer.overfit_batches cannot cut these data: take trainer.limit_train_batches")
    check_processes(settings)


def check_processes(settings: Mapping[str, Any]) -> None:
    """Refuse more processes than the machine can run, and to wait for machines where nobody starts processes on them.

    Args:
        settings: of the trainer, by name: devices, accelerator and num_nodes.

    Raises:
        ValueError: for such settings.
    """
    devices, processors = str(settings["devices"]), max(os.cpu_count() or 1, _ALWAYS_ALLOWED)
    on_cpu = settings["accelerator"] == "cpu" or (settings["accelerator"] == "auto" and not torch.cuda.is_available())
    if on_cpu and devices.isdigit() and int(devices) > processors:
        raise ValueError(f"trainer.devices {devices} are more processes than this machine can run, {processors}")
    nodes = settings["num_nodes"]
    check_number("trainer.num_nodes", nodes, least=1)
    if nodes > 1 and not _CLUSTERS & os.environ.keys():
        raise ValueError("trainer.num_nodes above 1 waits for other machines: start by torchrun or SLURM there")


def training_parser(module: type[TrainingModule]) -> ArgumentParser:
    """Return the parser of a training: every setting of the module, its data and the trainer."""
    parser = TrainingParser(
        prog="nfvae fit",
        usage="nfvae fit [-c CONFIG ...] [--ckpt_path RUN] [--model.NAME VALUE ...] [--data.NAME VALUE ...] ...",
        description=f"Train, or go on with a training. Settings of Lightning's Trainer: {_TRAINER_HELP} lists them.",
        exit_on_error=False,
        allow_abbrev=False,
        version=__version__,
    )
    parser.add_argument("--task", type=str, default=module.task, help=f"What is trained: {', '.join(TASKS)}.")
    parser.add_argument("-c", "--config", action="config", help="A config; later ones, and arguments, win.")
    parser.add_argument("--ckpt_path", type=str | None, help="A run or checkpoint that goes on.")
    parser.add_argument("--trust", nargs="+", metavar="CLASS", help=TRUST_HELP)
    parser.add_argument("--name", type=str, help="The run's folder under trainer.default_root_dir.")
    parser.add_argument("--seed_everything", type=int, default=0, help="Seed of weights, order and every draw.")
    parser.add_argument("--overwrite", type=bool, default=False, help="Replace a run of the same name.")
    parser.add_argument("--norms", type=bool, default=False, help="Log norms of gradients and parameters too.")
    parser.add_argument("--artifacts", type=bool, default=False, help="Keep checkpoints and config in wandb too.")
    parser.add_class_arguments(
        module, "model", skip={*DataSpec._fields, *module.from_teacher}, instantiate=False, fail_untyped=False
    )
    parser.add_class_arguments(DATA[module.kind], "data", skip={"seed"}, instantiate=False)
    parser.add_class_arguments(pl.Trainer, "trainer", instantiate=False, fail_untyped=False)
    parser.set_defaults(_TRAINER)
    vae = module.kind == "vae"
    names = _CHOICES if vae else {"model.flow": FLOWS}
    _name_choices(parser, names | {"data.dataset": DATASETS if vae else TOYS})
    return parser


def _name_choices(parser: ArgumentParser, choices: Mapping[str, Mapping[str, str]]) -> None:
    """Say in the help which names are known."""
    for action in parser._actions:
        if action.dest in choices:
            offer(action, choices[action.dest])
            action.help = f"{action.help} Known: {', '.join(choices[action.dest])}, or {OWN}."


def _help(parser: ArgumentParser, shown: set[str | None]) -> str:
    """Return the help of some groups of settings; None stands for those outside of every group."""
    titles = {group.title: name for name, group in (parser.groups or {}).items()}
    for group in parser._action_groups:
        name = titles.get(group.title)
        group.title = f"{name}: {group.title}" if name else group.title
        if name not in shown:
            group.title, group.description, group._group_actions = None, None, []
    return str(parser.format_help())
