"""Read the file that an offline wandb run leaves; wandb 0.31 has no reader in Python any more.

The format is LevelDB's log: after a header of seven bytes, blocks of 32 KiB that hold pieces of records, each with a
checksum of four bytes, a length of two and a kind of one: whole, first, middle or last.
"""

import json
import struct
import time
from pathlib import Path

from wandb.proto.wandb_internal_pb2 import Record

BLOCK, HEADER, PIECE = 32 * 1024, 7, 7
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(path):
    """Yield the records of a .wandb file."""
    content, at, pending = Path(path).read_bytes(), HEADER, b""
    while at + PIECE <= len(content):
        left = BLOCK - at % BLOCK
        if left < PIECE:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + PIECE])
        if kind not in (WHOLE, FIRST, MIDDLE, LAST):
            break
        piece = content[at + PIECE : at + PIECE + length]
        pending = piece if kind in (WHOLE, FIRST) else pending + piece
        at += PIECE + length
        if kind in (WHOLE, LAST):
            record = Record()
            record.ParseFromString(pending)
            yield record


def finished_records(path, seconds=20):
    """The records of a run that has ended; wandb's own process may still be writing the last of them."""
    deadline = time.monotonic() + seconds
    while True:
        found = list(records(path))
        if any(record.WhichOneof("record_type") == "exit" for record in found) or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


class WandbRun:
    """What a .wandb file says of its run."""

    def __init__(self, path):
        self.config, self.summary, self.history, self.metrics, self.run = {}, {}, [], {}, None
        for record in finished_records(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run = record.run
                self.config.update(items(record.run.config.update))
            elif kind == "config":
                self.config.update(items(record.config.update))
            elif kind == "history":
                self.history.append(items(record.history.item))
            elif kind == "summary":
                self.summary.update(items(record.summary.update))
            elif kind == "metric":
                self.metrics[record.metric.name] = record.metric


def items(entries):
    return {entry.key or ".".join(entry.nested_key): json.loads(entry.value_json) for entry in entries}
