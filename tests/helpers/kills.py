"""Programs in children of this process, which get a signal at one of their file operations, or may not write much."""

import os
import resource
import signal
import sys
import traceback
from typing import NamedTuple

from nfvae.__main__ import main

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Ended(NamedTuple):
    """How a child ended: its exit code or minus its signal, what it printed, and the operations it came to."""

    code: int
    output: str
    operations: int


OPERATIONS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}


def in_a_child(arguments, kill_at=None, folder="runs", largest_file=None, stop=signal.SIGKILL):
    """Run a command line as a program in a child, and say how it ended.

    Args:
        arguments: of the command line.
        kill_at: number, or name, of the file operation below the folder before which the child signals itself.
        folder: whose operations count.
        largest_file: bytes beyond which no file may grow.
        stop: the signal.
    """
    counts, prints = os.pipe(), os.pipe()
    if not (child := os.fork()):
        code = 70
        try:
            os.dup2(prints[1], 1)
            os.dup2(prints[1], 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            if largest_file:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
            count = counted(kill_at, folder, stop)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.argv = ["nfvae", *(str(argument) for argument in arguments)]
            try:
                code = main()
            except SystemExit as ended:
                code = ended.code
            sys.stdout.flush(), sys.stderr.flush()
            os.write(counts[1], str(count[0]).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(counts[1]), os.close(prints[1])
    with os.fdopen(prints[0]) as said, os.fdopen(counts[0]) as result:
        output, operations = said.read(), result.read()
    return Ended(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), output, int(operations or 0))


def counted(kill_at, folder, stop):
    """Count this process's file operations below a folder, and get a signal before one of them."""
    count, done = [0], []

    def watch(event, arguments):
        if event not in OPERATIONS or f"{folder}" not in str(arguments[0]):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITES):
            return
        count[0] += 1
        if kill_at in (count[0], event) and not done:
            done.append(event)
            os.kill(os.getpid(), stop)

    sys.addaudithook(watch)
    return count
