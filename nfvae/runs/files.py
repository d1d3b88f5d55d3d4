"""Files that are written completely or not at all."""

import glob
import io
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import torch

from nfvae.plots.canvas import rendered

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PARTIAL = ".tmp"  # ending of the name of an incomplete file


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that gets its name only when it is complete and on disk; a failure keeps the old file.

    Until then its name is unique to this process. If two processes write the same file, the last one wins. Partial
    files that killed processes of this machine left in the folder are deleted.
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
    """Delete partial files of processes on this machine that have ended."""
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
    except (OSError, OverflowError):  # another user's process
        return True
    return True


def remove_partial(*files: Path) -> None:
    """Delete partial files left by killed writers; call it only if no other process may write these files."""
    for file in files:
        for path in file.parent.glob(f"{glob.escape(file.name)}.*{_PARTIAL}"):
            path.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text file completely or not at all."""
    with whole_file(path) as file:
        file.write(text.encode())


def write_tensors(path: Path, content: Any) -> None:
    """Write with `torch.save`, completely or not at all."""
    buffer = io.BytesIO()  # a full disk raises a clear error only outside of torch
    torch.save(content, buffer)
    with whole_file(path) as file:
        file.write(buffer.getbuffer())


def write_figure(path: Path, figure: "Figure") -> None:
    """Write a picture in the format of the file's extension, completely or not at all."""
    content = rendered(figure, path.suffix.removeprefix(".").lower())
    with whole_file(path) as file:
        file.write(content)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty if the file is missing or damaged, or repeats a name."""
    try:
        content = json.loads(path.read_text(), object_pairs_hook=_without_repeats)
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object; raises ValueError if a name is repeated."""
    if len(content := dict(pairs)) < len(pairs):
        raise ValueError("a name is there twice")
    return content
