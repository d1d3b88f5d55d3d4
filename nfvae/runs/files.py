"""Files that are whole or not there at all, that one process writes at a time, and whose damage shows."""

import glob
import hashlib
import io
import json
import os
import re
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import torch
import yaml
from filelock import FileLock, Timeout

from nfvae.plots.canvas import rendered

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_PARTIAL = ".tmp"  # how the name of a file ends that is not whole yet
_MOST_SETTINGS = 10_000  # of a YAML file
_MOST_PIECES = 1_000_000  # of nested content whose digest is taken
_DEEPEST = 100  # levels of nested content
_TOO_MANY = f"more than {_MOST_SETTINGS:,} settings"
_TOO_DEEP = "settings are nested too deeply"
_MOST_REPEATS = 100  # how often a tensor's memory may be read for one digest


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes its name only when it is whole and on disk; a failure leaves what was there before.

    Until then it has a name of this process's own, so that of two that write the same file the last one wins. What
    processes of this machine have left in the folder when they were killed is deleted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left(path.parent.resolve())
    partial = path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}{_PARTIAL}")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@cache  # once per process, since such files were left before it started
def _remove_left(folder: Path) -> None:
    """Delete partial files whose process was on this machine and is no more."""
    host = socket.gethostname()
    for path in folder.glob(f"*.{glob.escape(host)}-*{_PARTIAL}"):
        number = path.name.removesuffix(_PARTIAL).rpartition("-")[2]
        if number.isdigit() and not _is_alive(int(number)):
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's
        return True
    return True


def remove_partial(*files: Path) -> None:
    """Delete what writers that were killed have left of files; only where no other process may write them."""
    for file in files:
        for path in file.parent.glob(f"{glob.escape(file.name)}.*{_PARTIAL}"):
            path.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with whole_file(path) as file:
        file.write(text.encode())


def write_tensors(path: Path, content: Any) -> None:
    """Write with `torch.save`, whole or not at all."""
    buffer = io.BytesIO()  # a full disk shows as what it is only outside of torch
    torch.save(content, buffer)
    with whole_file(path) as file:
        file.write(buffer.getbuffer())


def write_figure(path: Path, figure: "Figure") -> None:
    """Write a picture in the format that the file's name says, whole or not at all."""
    content = rendered(figure, path.suffix.removeprefix(".").lower())
    with whole_file(path) as file:
        file.write(content)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; an empty one where there is no such file, or one that is damaged or has a name twice."""
    try:
        content = json.loads(path.read_text(), object_pairs_hook=_without_repeats)
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object; raises ValueError where a name is there twice."""
    if len(content := dict(pairs)) < len(pairs):
        raise ValueError("a name is there twice")
    return content


def read_yaml(path: Path) -> dict[str, Any]:
    """Read settings by name.

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
    """Read what YAML says, 1e-3 as the number that it is.

    Raises:
        yaml.YAMLError: if it is none, a name is set twice, or it is nested too deeply or too large.
    """
    try:
        content = yaml.load(text, _Settings)
    except RecursionError:
        raise yaml.YAMLError(_TOO_DEEP) from None
    _check_size(content)
    return content


class _Settings(yaml.SafeLoader):  # type: ignore[misc]  # without types
    """Plain YAML in which no name is set twice."""

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
    """Write settings as YAML that `load_yaml` reads back as they are: a text that looks like a number stays a text."""
    return str(yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # without types
    """Plain YAML in which every text that some reader takes for a number is quoted."""


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[\d_.]+[eE][-+]?[\d_]+"), list("-+.0123456789")
)


def _check_size(content: Any) -> None:
    """Refuse what aliases blow up, or have contain itself, and what is nested too deeply to be written again."""
    level, count = [content], 0
    for _ in range(_DEEPEST):
        if (count := count + len(level)) > _MOST_SETTINGS:
            raise yaml.YAMLError(_TOO_MANY)
        inner = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
        if not (level := [*chain.from_iterable(inner)]):
            return
    raise yaml.YAMLError(_TOO_DEEP)


class Busy(ValueError):
    """Another process is at it."""


@contextmanager
def locked(path: Path, action: str, purpose: str = "") -> Iterator[None]:
    """Do something to a file or folder that no other process may do at the same time.

    The lock lies beside it and says which process holds it. It ends with the process, however that ends.

    Args:
        path: the file or folder.
        action: what is done to it, for the message, as `trained`.
        purpose: of a lock of its own, beside which others are allowed.

    Raises:
        Busy: if another process does the same.
    """
    file = path.with_name(f".{path.name}{purpose and '.'}{purpose}.lock")
    missing = [folder for folder in file.parents if not folder.exists()]
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise Busy(f"{path} is being {action} by {_holder(file)}: wait for it, or end it") from None
    try:
        file.write_text(f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        file.unlink(missing_ok=True)
        lock.release()
        for folder in missing:  # made for the lock, and still empty where nothing came of it
            with suppress(OSError):
                folder.rmdir()


def _holder(file: Path) -> str:
    try:
        return file.read_text() or "another process"
    except OSError:  # released just now
        return "another process"


def content_digest(content: Mapping[str, Any]) -> str:
    """Return a SHA-256 of nested settings, numbers and tensors, the same wherever they lie.

    Raises:
        ValueError: for content that is nested too deeply, that would take very long because parts of it are shared, or
            that holds a sparse or quantized tensor.
    """
    digest = hashlib.sha256()
    for count, piece in enumerate(_pieces(content, Counter())):
        if count > _MOST_PIECES:
            raise ValueError(f"the content has more than {_MOST_PIECES:,} values")
        digest.update(piece)
    return digest.hexdigest()


def _pieces(value: Any, read: Counter[int], depth: int = 0) -> Iterator[bytes]:
    """Yield what a digest is made of; `read` counts the bytes of each tensor's memory."""
    if depth > _DEEPEST:
        raise ValueError(f"the content is nested deeper than {_DEEPEST} levels")
    if isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            yield repr(key).encode()
            yield from _pieces(value[key], read, depth + 1)
    elif isinstance(value, list | tuple):
        yield f"[{len(value)}".encode()
        for each in value:
            yield from _pieces(each, read, depth + 1)
    elif isinstance(value, torch.Tensor):
        yield from _pieces_of_tensor(value, read)
    else:
        yield repr(value).encode()


def _pieces_of_tensor(value: torch.Tensor, read: Counter[int]) -> Iterator[bytes]:
    if value.layout != torch.strided or value.is_quantized or value.device.type == "meta":
        raise ValueError("the content has a sparse or quantized tensor, or one without numbers")
    memory = value.untyped_storage()
    read[memory.data_ptr()] += value.numel() * value.element_size()
    if read[memory.data_ptr()] > _MOST_REPEATS * memory.nbytes():
        raise ValueError(f"the content repeats a tensor more than {_MOST_REPEATS} times")
    plain = value.detach().cpu().contiguous()
    yield f"{plain.dtype} {[*plain.shape]}".encode()
    yield plain.reshape(-1).view(torch.uint8).numpy().tobytes()
