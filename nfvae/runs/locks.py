"""Locks between processes."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout


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
