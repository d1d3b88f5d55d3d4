"""One wandb run for each of our runs, whoever writes to it."""

import os
from pathlib import Path
from typing import Any


def wandb_settings(folder: Path) -> dict[str, Any]:
    """Return the arguments of `wandb.init` that name a run: the id of an earlier call where there was one.

    Without an account, and where the user's WANDB_MODE says nothing, wandb stays offline.

    Args:
        folder: the run's folder; wandb's own files are in its subfolder wandb.
    """
    import wandb

    decided = os.environ.get("WANDB_MODE") or wandb.login(prompt=False, verify=False)
    earlier = max(folder.glob("wandb/*run-*-*"), key=lambda path: path.stat().st_mtime, default=None)
    return {
        "project": "nfvae",
        "name": folder.resolve().name,
        "id": earlier and earlier.name.rpartition("-")[2],
        "resume": "allow",
        "mode": None if decided else "offline",
    }


def log_evaluation(folder: Path, summary: dict[str, Any], figure: Path) -> None:
    """Add an evaluation to the summary of the run's wandb, as test/nll and so on; nothing where it has none.

    Args:
        folder: the run's folder.
        summary: what the evaluation found, by name.
        figure: a PNG.
    """
    if not (folder / "wandb").is_dir() or os.environ.get("WANDB_MODE") == "disabled":
        return
    import wandb

    with wandb.init(dir=folder.resolve(), job_type="evaluate", **wandb_settings(folder)) as run:
        run.log({f"{summary['split']}/evaluation": wandb.Image(str(figure))})
        run.summary.update({f"{summary['split']}/{name}": value for name, value in summary.items()})
