"""Plain YAML of bounded size that reads back unchanged."""

import re
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

_MOST_SETTINGS = 10_000  # settings in a file
_DEEPEST = 100  # levels of nested content
_TOO_MANY = f"more than {_MOST_SETTINGS:,} settings"
_TOO_DEEP = "settings are nested too deeply"


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a file of settings by name.

    Raises:
        ValueError: if the file holds something else or is damaged.
    """
    try:
        content = load_yaml(path.read_text())
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"cannot read {path}: {error.problem}{line}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    if not isinstance(content, dict | None):
        raise ValueError(f"cannot read {path}: it should hold settings by name")
    return content or {}


def load_yaml(text: str) -> Any:
    """Parse YAML; 1e-3 is read as a number.

    Raises:
        yaml.YAMLError: if the text is not YAML, sets a name twice, or is nested too deeply or too large.
    """
    try:
        content = yaml.load(text, _Settings)
    except RecursionError:
        raise yaml.YAMLError(_TOO_DEEP) from None
    _check_size(content)
    return content


class _Settings(yaml.SafeLoader):  # type: ignore[misc]  # without types
    """A loader of plain YAML that refuses a name set twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = Counter(str(key.value) for key, _ in node.value)
        if repeated := [name for name, count in names.items() if count > 1]:
            raise yaml.YAMLError(f"{repeated[0]} is set twice")
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


_Settings.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+"), list("-+.0123456789")
)


def dump_yaml(content: Any) -> str:
    """Write settings as YAML that `load_yaml` reads back unchanged; text that looks like a number stays text."""
    return str(yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # without types
    """A writer of plain YAML that quotes any text which some parser reads as a number."""


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[\d_.]+[eE][-+]?[\d_]+"), list("-+.0123456789")
)


def _check_size(content: Any) -> None:
    """Refuse content that aliases make huge or recursive, or that is nested too deeply to be written again."""
    level, count = [content], 0
    for _ in range(_DEEPEST):
        if (count := count + len(level)) > _MOST_SETTINGS:
            raise yaml.YAMLError(_TOO_MANY)
        inner = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
        if not (level := [*chain.from_iterable(inner)]):
            return
    raise yaml.YAMLError(_TOO_DEEP)
