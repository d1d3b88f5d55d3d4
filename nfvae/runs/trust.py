"""Classes that a run may import: a mark in its folder lists those that its user trained it with here."""

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from nfvae.runs.files import read_json, write_whole
from nfvae.runs.folder import RunFolder

_STATE_VARIABLE = "XDG_STATE_HOME"
_KEY_BYTES = 32
_OURS = ("nfvae", "torch", "pytorch_lightning")  # packages that every run may import


def mark_trained(folder: RunFolder, classes: Iterable[str]) -> None:
    """Mark a run as trained here with classes from outside nfvae, so that later commands may import them.

    The mark is valid only for this user and for this folder at this path. It becomes invalid if the folder is copied,
    moved or unpacked, because its code needs a secret key from the user's own files. If the key or the mark cannot be
    written, a line reports it, and later commands on the run need --trust.
    """
    named = sorted(each for each in classes if each.partition(":")[0].partition(".")[0] not in _OURS)
    if not named:
        return
    try:
        write_whole(folder.mark, json.dumps({"classes": named, "code": _code(_made_key(), folder, named)}) + "\n")
    except (OSError, RuntimeError) as error:  # a read-only home, or none
        print(f"{error}: later commands on {folder.path} need --trust {' '.join(named)}")


def trained_with(folder: RunFolder) -> frozenset[str]:
    """Return the classes with which this user trained a run in its folder; none without a valid mark."""
    mark = read_json(folder.mark)
    classes, code, key = mark.get("classes"), mark.get("code"), _key()
    if not (key and isinstance(code, str) and isinstance(classes, list)):
        return frozenset()
    named = [str(each) for each in classes]
    valid = hmac.compare_digest(_code(key, folder, named).encode(), code.encode(errors="replace"))
    return frozenset(named) if valid else frozenset()


def _code(key: bytes, folder: RunFolder, classes: list[str]) -> str:
    said = json.dumps([str(folder.path.resolve()), classes])
    return hmac.new(key, said.encode(), hashlib.sha256).hexdigest()


def _key_file() -> Path:
    given = os.environ.get(_STATE_VARIABLE, "")
    state = Path(given) if Path(given).is_absolute() else Path("~/.local/state").expanduser()
    return state / "nfvae" / "key"


def _key() -> bytes:
    """Read the user's key; empty if there is none."""
    try:
        key = _key_file().read_bytes()
    except (OSError, RuntimeError):  # no file, or no home
        return b""
    return key if len(key) == _KEY_BYTES else b""


def _made_key() -> bytes:
    """Read the user's key, creating it if needed; only one of several processes creates it."""
    file = _key_file()
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        own = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
        try:
            with os.fdopen(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
                opened.write(secrets.token_bytes(_KEY_BYTES))
            with suppress(FileExistsError):
                os.link(own, file)
        finally:
            own.unlink(missing_ok=True)
    if not (key := _key()):
        raise OSError(f"{file} is no key of nfvae: delete it")
    return key
