"""The settings of a training, merged from the resumed run, configs, and the command line."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from nfvae.commands import with_home
from nfvae.commands.arguments import Parser
from nfvae.models import DataSpec
from nfvae.registry import check_trusted, class_paths, trust
from nfvae.runs import Run
from nfvae.runs.trust import trained_with
from nfvae.runs.yamls import load_yaml, read_yaml
from nfvae.training import TASKS, TrainingModule

NULL = ("None", "null")
"""Spellings of None in Python and YAML."""
_SECTIONS = ("model", "data", "trainer")
_DEEP = re.compile(r"--(?:model|data)(?:\.\w+){3,}(?:=.*)?", re.DOTALL)
_DOTTED = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\.([A-Za-z_]\w*)")
_NAME = re.compile(r"--((?:model|data)(?:\.\w+)+)(?:=(.*))?", re.DOTALL)


class Sources(NamedTuple):
    """The given settings, before they are checked.

    Attributes:
        settings: settings of the resumed run, with those of the configs merged over them.
        run: the run to resume, if any.
        words: the other arguments.
    """

    settings: dict[str, Any]
    run: Run | None
    words: list[str]


def read_sources(arguments: Sequence[str]) -> Sources:
    """Read the configs and the checkpoint named in the arguments; later configs override earlier ones.

    Raises:
        FileNotFoundError: if a config or the checkpoint does not exist.
        ValueError: if one is damaged.
    """
    parser = Parser(add_help=False)
    parser.add_argument("-c", "--config", type=Path, action="append", default=[])
    parser.add_argument("--ckpt_path", type=lambda word: None if word in NULL else Path(word))
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
        FileNotFoundError: if the file does not exist.
        ValueError: if the file is not YAML, or not made of sections.
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
    """Turn a dotted name, such as model.flow, into a setting of its section."""
    settings: dict[str, Any] = {}
    for name, value in content.items():
        section, _, inner = str(name).partition(".")
        settings = merge(settings, {section: {inner: value}} if inner and section in _SECTIONS else {name: value})
    return settings


def settings_of(run: Run) -> dict[str, Any]:
    """Return the settings of a run's training, with the name of its present folder."""
    saved = run.folder.settings()
    check_trusted(sorted(named_classes(saved)), run.folder.config, trained_with(run.folder))
    if not saved:  # a plain Lightning run: take the settings in the checkpoint
        derived = {*DataSpec._fields, *TASKS.load(run.task).from_teacher}
        known = {name: value for name, value in run.settings.items() if name not in derived}
        data = {name: value for name, value in run.data_settings.items() if name != "seed"}
        saved = {"task": run.task, "model": known, "data": data, "seed_everything": run.data_settings.get("seed", 0)}
    path = run.folder.path if run.folder.path.name else run.folder.path.resolve()
    return merge(saved, {"name": path.name, "trainer": {"default_root_dir": str(path.parent)}})


def named_classes(settings: Mapping[str, Any]) -> set[str]:
    """Return every class named in a training's settings; those of the trainer are spelled package.module.Class."""
    trainer = dict(settings.get("trainer") or {}) | {"default_root_dir": None}
    return class_paths(settings) | set(_dotted_classes(trainer))


def _dotted_classes(settings: Any) -> Iterator[str]:
    if isinstance(settings, Mapping | list | tuple):
        for each in settings.values() if isinstance(settings, Mapping) else settings:
            yield from _dotted_classes(each)
    elif isinstance(settings, str) and (found := _DOTTED.fullmatch(settings)):
        yield f"{found[1]}:{found[2]}"


def merge(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Merge settings over earlier ones; sections and options are merged key by key.

    A new name for a role drops the options of the earlier one; null drops all options.
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
    """Return settings without the options of a name whose value changes."""
    if settings.get(name) == value:
        return settings
    return {each: one for each, one in settings.items() if each != f"{name}_options"}


def _without_dropped_options(settings: dict[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """Drop the options of a role (such as model.flow) or univariate map that the command line changes."""
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
    """Rewrite --model.flow_options.a.b 4 as --model.flow_options.a {b: 4}; jsonargparse reads the deeper 4 as text."""
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
    """Return settings with one nested setting replaced."""
    first, *inner = names
    held = settings.get(first)
    return {**settings, first: _put(held if isinstance(held, Mapping) else {}, inner, value) if inner else value}


def task_of(sources: Sources) -> type[TrainingModule]:
    """Return the class of the training module.

    Raises:
        ValueError: for an unknown task.
    """
    parser = Parser(add_help=False)
    parser.add_argument("--task")
    task = parser.parse_known_args(sources.words)[0].task or sources.settings.get("task", "vae")
    return TASKS.load(str(task))
