"""A list of runs that any number of processes share."""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path

from pytorch_lightning.utilities import rank_zero_only

from nfvae.runs.locks import Busy, locked

_PAUSE = 2.0  # seconds between two checks of other processes


def run_all(tasks: Mapping[Path, Callable[[], None]]) -> None:
    """Do the task of each run, one process per run; wait for other processes, and take over if one ends.

    Args:
        tasks: task of each run, by the run's folder; each must skip what is done already.

    Raises:
        FloatingPointError: if a run diverged; raised when the others are done.
    """
    left, announced = dict(tasks), set()
    diverged: list[FloatingPointError] = []
    rank = getattr(rank_zero_only, "rank", 0)  # other processes of one training do what the first one does
    while left:
        busy = {}
        for path, task in left.items():
            try:
                with nullcontext() if rank else locked(path, "worked on", "sweep"):
                    task()
            except Busy as error:
                busy[path] = task
                if path not in announced:
                    print(f"{str(error).partition(':')[0]}: waiting until that ends")
                    announced.add(path)
            except FloatingPointError as error:
                diverged.append(FloatingPointError(f"{path}: {error}"))
                print(diverged[-1])
        if len(busy) == len(left):
            time.sleep(_PAUSE)
        left = busy
    if diverged:
        raise diverged[0]
