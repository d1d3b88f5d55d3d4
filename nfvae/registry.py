"""Look up classes by registered name or "package.module:Class"; check options, numbers and trusted modules."""

import difflib
import inspect
import math
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from numbers import Integral, Real
from typing import Any, Generic, TypeVar

from typing_extensions import override

TRUST_VARIABLE = "NFVAE_TRUST"
_TRUSTED: ContextVar[frozenset[str]] = ContextVar("trusted", default=frozenset())
_DEEPEST_SETTING = 50
_Base = TypeVar("_Base")
_CLASS_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
OWN = "package.module:Class"
LARGEST_SIZE = 1_000_000
"""Largest layer width; without it, a larger one would fail only when the memory is gone."""


class Registry(Mapping[str, str], Generic[_Base]):
    """Map the names of one role to its classes, which are imported on use.

    Args:
        role: what the classes are, such as "flow".
        base: base class of all entries.
        entries: "package.module:Class" by name.

    Example:
        >>> from nfvae.flows import FLOWS
        >>> FLOWS["planar"], FLOWS.load("planar").__name__
        ('nfvae.flows.planar:PlanarFlow', 'PlanarFlow')
    """

    def __init__(self, role: str, base: type[_Base], entries: Mapping[str, str]) -> None:
        self.role, self.base, self.entries = role, base, dict(entries)

    @override
    def __getitem__(self, name: str) -> str:
        return self.entries[name]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    @override
    def __len__(self) -> int:
        return len(self.entries)

    def load(self, name: str) -> type[_Base]:
        """Import the class of a registered name, or of "package.module:Class".

        Raises:
            ValueError: for an unknown name, or a class that is abstract, not importable or not a subclass of the base.
        """
        path = self.entries.get(name, name) if isinstance(name, str) else name
        if not is_class_path(path):
            raise ValueError(unknown(self.role, name, [*self, OWN]))
        loaded = import_attribute(self.role, path)
        if not (isinstance(loaded, type) and issubclass(loaded, self.base)):
            raise ValueError(f"{path!r} is not a subclass of {self.base.__module__}.{self.base.__qualname__}")
        if missing := sorted(getattr(loaded, "__abstractmethods__", ())):
            raise ValueError(f"{path!r} is abstract: it lacks {', '.join(missing)}")
        return loaded

    def make(self, name: str, options: Mapping[str, Any] | None = None, **given: Any) -> _Base:
        """Build an object of the named class.

        Args:
            name: registered name, or "package.module:Class".
            options: arguments of this class alone.
            given: arguments that every class of the role takes.

        Raises:
            ValueError: as for `load`, or for an unknown option, or a value that the class refuses.
        """
        loaded, options = self.load(name), check_mapping(f"options of {self.role} {name!r}", options)
        known = [key for key in options_of(loaded) if key not in given]
        check_options(self.role, name, options, known)
        try:
            return loaded(**given, **options)
        except ValueError:
            raise
        except (Exception, SystemExit) as error:  # a wrong type, or anything that a user's class raises
            raise ValueError(f"cannot build {self.role} {name!r} with options {dict(options)}: {error}") from error


def check_mapping(what: str, value: Any) -> Mapping[str, Any]:
    """Return options as a mapping; None becomes an empty one.

    Raises:
        ValueError: for any other value.
    """
    if not isinstance(value, Mapping | None):
        raise ValueError(f"{what} are given by name, as {{hidden: 64}}; got {value!r}")
    return value or {}


def options_of(called: Callable[..., Any]) -> list[str]:
    """List the argument names of a function or class; if a class takes **options, its parent's as well."""
    parameters = inspect.signature(called).parameters
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    names = [name for name, each in parameters.items() if each.kind not in variable]
    passes_on = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    if isinstance(called, type) and passes_on and called.__base__ not in (None, object):
        return list(dict.fromkeys([*names, *options_of(called.__base__)]))
    return names


def check_options(role: str, name: str, options: Collection[str], known: Collection[str]) -> None:
    """Refuse options that are not known.

    Raises:
        ValueError: for an unknown option.
    """
    for option in options:
        if option not in known:
            listed = ", ".join(known) or "none"
            raise ValueError(f"unknown option {option!r} of {role} {name!r}; known options: {listed}")


def import_attribute(role: str, path: str) -> Any:
    """Import the object at "package.module:name".

    Raises:
        ValueError: if the import fails for any reason.
    """
    module, _, attribute = path.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        top = module.partition(".")[0]
        lost = isinstance(error, ModuleNotFoundError) and error.name == top
        hint = f"; the folder that holds {top}.py, or the package {top}, has to be in PYTHONPATH" if lost else ""
        raise ValueError(f"cannot import {role} {path!r}: {error}{hint}") from error


def unknown(role: str, name: object, known: Collection[str]) -> str:
    """Return the error message for an unknown name, with the known names and the closest match.

    Example:
        >>> unknown("color", "rde", ["red", "blue"])
        "unknown color 'rde'; known colors: red, blue; did you mean red?"
    """
    listed = [each for each in known if each != OWN]
    close = difflib.get_close_matches(str(name), listed, 1)
    own = f", or {OWN}" if OWN in known else ""
    meant = f"; did you mean {close[0]}?" if close else ""
    return f"unknown {role} {name!r}; known {role}s: {', '.join(listed)}{own}{meant}"


def check_choice(role: str, name: object, known: Collection[str]) -> None:
    """Refuse a name that is not known.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in known:
        raise ValueError(unknown(role, name, known))


def check_number(
    name: str, value: float, *, least: float = -math.inf, above: float = -math.inf, most: float = sys.float_info.max
) -> None:
    """Refuse a number out of range; infinity and NaN are out of every range.

    Raises:
        ValueError: for a number out of range, or another type.

    Example:
        >>> check_number("lr", 0.0, above=0)
        Traceback (most recent call last):
        ValueError: lr must be above 0; got 0.0
    """
    if not isinstance(value, Real) or isinstance(value, bool) or value != value:
        expected = "a number"
    elif (number := value if isinstance(value, int) else float(value)) <= above:
        expected = f"above {above:g}"
    elif number < least:
        expected = f"at least {least:g}"
    elif number > most:
        expected = "finite" if most == sys.float_info.max else f"at most {most:,}"
    else:
        return
    raise ValueError(f"{name} must be {expected}; got {value!r}")


def check_sizes(**sizes: int) -> None:
    """Refuse named sizes that are not whole numbers from 1 to a million.

    Raises:
        ValueError: for an invalid size.
    """
    for name, value in sizes.items():
        check_whole(name, value)


def check_whole(name: str, value: int, least: int = 1) -> None:
    """Refuse a value that is not a whole number from `least` to a million.

    Raises:
        ValueError: for an invalid value.
    """
    if not isinstance(value, Integral):
        raise ValueError(f"{name} must be a whole number; got {value!r}")
    check_number(name, value, least=least, most=LARGEST_SIZE)


def check_flag(name: str, value: bool) -> None:
    """Refuse a value that is not a bool, such as the text "false", which Python treats as true.

    Raises:
        ValueError: for any other type.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false; got {value!r}")


def check_seed(name: str, value: int) -> None:
    """Refuse a random seed that is not a whole number from 0 to 2³² - 1.

    Raises:
        ValueError: for an invalid seed.
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ValueError(f"{name} must be a whole number; got {value!r}")
    check_number(name, int(value), least=0, most=2**32 - 1)


def is_class_path(name: object) -> bool:
    """Return whether a name is "package.module:Class"; nothing else is ever imported."""
    return isinstance(name, str) and _CLASS_PATH.fullmatch(name) is not None


def class_paths(settings: Any) -> set[str]:
    """Find every "package.module:Class" in nested settings."""
    if isinstance(settings, Mapping):
        return set().union(*map(class_paths, settings.values()))
    if isinstance(settings, list | tuple):
        return set().union(*map(class_paths, settings))
    return {settings} if is_class_path(settings) else set()


def trust(names: Iterable[str]) -> None:
    """Trust classes until the innermost `trusting` block ends; names are split at commas and spaces.

    Raises:
        ValueError: for a name that is not "package.module:Class".
    """
    found = names_in(names)
    for name in found:
        if not is_class_path(name):
            raise ValueError(f"trust is given to classes, as {OWN}; got {name!r}")
    _TRUSTED.set(_TRUSTED.get().union(found))


@contextmanager
def trusting(*names: str) -> Iterator[None]:
    """Trust classes inside a block, where runs, teachers and starting points may then name them.

    Example:
        >>> with trusting("your.module:Class"):
        ...     check_trusted({"flow": "your.module:Class"}, "given.ckpt")
    """
    token = _TRUSTED.set(_TRUSTED.get())
    try:
        trust(names)
        yield
    finally:
        _TRUSTED.reset(token)


def names_in(texts: Iterable[str]) -> list[str]:
    """Split texts at commas and spaces."""
    return [name for text in texts for name in re.split(r"[,\s]+", text) if name]


def check_trusted(settings: Any, source: object, trusted: Collection[str] = ()) -> None:
    """Refuse settings from a file that would import a module outside nfvae that the user does not trust.

    Args:
        settings: nested content of the file.
        source: the file, for the error message.
        trusted: "package.module:Class" names to trust, besides those of `trust` and the environment.

    Raises:
        ValueError: for an untrusted module. A module that is already imported is accepted, since no new code runs.
    """
    known = {*trusted, *_TRUSTED.get(), *names_in([os.environ.get(TRUST_VARIABLE, "")])}
    for path in sorted(class_paths(settings) - known):
        module = path.partition(":")[0]
        if module.partition(".")[0] != "nfvae" and module not in sys.modules:
            raise ValueError(
                f"{source} names {path}, a class from outside nfvae, and importing its module would run code: if you "
                f"trust that code, add --trust {path} (or set {TRUST_VARIABLE}; in Python, import {module} first)"
            )


def plain(value: Any, name: str = "", depth: int = 0) -> Any:
    """Convert a setting for a checkpoint: NumPy numbers to Python's, paths to text, tuples to lists.

    Args:
        value: the setting; nested settings are converted too.
        name: setting's name, for the message.
        depth: nesting depth of the value.

    Raises:
        ValueError: for a value that no checkpoint can hold, or one nested too deeply.

    Example:
        >>> import numpy as np
        >>> plain({"lr": np.float64(0.5), "shape": (8, np.int64(8))})
        {'lr': 0.5, 'shape': [8, 8]}
    """
    if depth > _DEEPEST_SETTING:
        raise ValueError(f"setting {name} is nested deeper than {_DEEPEST_SETTING} levels")
    if isinstance(value, Mapping):
        keys = {key: plain(key, name, depth + 1) for key in value}
        return {each: plain(value[key], f"{name}.{each}".lstrip("."), depth + 1) for key, each in keys.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return [plain(each, name, depth + 1) for each in value]
    if value is None or type(value) in (bool, int, float, str):
        return value
    for kind, convert in _PLAIN.items():
        if isinstance(value, kind):
            return convert(value)
    torch = sys.modules.get("torch")
    if torch and type(value) is torch.Tensor and value.ndim:
        return value
    if hasattr(value, "tolist") and not (torch and isinstance(value, torch.nn.Parameter)):  # NumPy, or one number
        return plain(value.tolist(), name, depth + 1)
    raise ValueError(f"setting {name} is of type {type(value).__name__}, which a checkpoint cannot hold: {value!r:.60}")


def save_plainly(owner: Any) -> None:
    """Save the calling constructor's arguments as a Lightning module's hyperparameters, converted by `plain`.

    Raises:
        ValueError: for an argument that no checkpoint can hold.
    """
    owner.save_hyperparameters(frame=sys._getframe(1))
    owner.save_hyperparameters(plain(owner.hparams))


_PLAIN: dict[type, Callable[[Any], Any]] = {
    str: str.__str__,
    os.PathLike: os.fspath,
    Integral: int,
    Real: float,
}
"""Conversion to a type that a checkpoint can hold, by type."""
