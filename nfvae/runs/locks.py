"""Locks between processes."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout


class Busy(ValueError):
    """Another process holds the lock."""


@contextmanager
def locked(path: Path, action: str, purpose: str = "") -> Iterator[None]:
    """Lock a file or folder against other processes that do the same to it.

    The lock file lies beside it and names the process that holds it. The lock ends with the process, however that ends.

    Args:
        path: the file or folder.
        action: participle for the message, such as `trained`.
        purpose: name of a separate lock, which does not exclude locks of other names.

    Raises:
        Busy: if another process holds the lock.
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
        for folder in missing:  # created for the lock; removed if still empty
            with suppress(OSError):
                folder.rmdir()


def _holder(file: Path) -> str:
    try:
        return file.read_text() or "another process"
    except OSError:  # released just now
        return "another process"
