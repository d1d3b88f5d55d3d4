"""One wandb run for each of our runs, whoever writes to it; nothing where wandb is not installed or is disabled."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import WandbLogger

JOB_TYPES = {"vae": "train", "density": "train", "distill": "distill"}


def wandb_logger(folder: Path, task: str, config: Mapping[str, Any]) -> WandbLogger | None:
    """Return the logger of a run, grouped by data set and architecture, tagged by flow, depth and objective.

    Args:
        folder: the run's folder.
        task: a name in `nfvae.tasks.TASKS`.
        config: every setting of the run.

    Returns:
        The logger; None where wandb is not installed.
    """
    if not _installed():
        return None
    from nfvae import __version__

    model, data = config["model"], config["data"]
    flow = model["flow"].rpartition(":")[2].lower()
    objective = model.get("target") or model.get("objective") or ("reverse_kl" if model.get("teacher") else "nll")
    return WandbLogger(
        **wandb_settings(folder),
        save_dir=folder.resolve(),
        group=f"{data['dataset']}-{flow}-{model['depth']}",
        job_type=JOB_TYPES[task],
        tags=[flow, f"depth {model['depth']}", objective],
        config={**config, "nfvae": __version__},
    )


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


def summarize_best(logger: WandbLogger, metric: str, mode: str) -> None:
    """Have wandb's summary show a metric's best value (`max` or `min`) instead of its last."""
    logger.experiment.define_metric(metric, summary=mode, step_metric="trainer/global_step")


def log_pictures(logger: WandbLogger, pictures: list[Path]) -> None:
    """Log PNGs, each by its file's name."""
    import wandb

    logger.experiment.log({path.stem: wandb.Image(str(path)) for path in pictures})


def log_evaluation(folder: Path, summary: dict[str, Any], figure: Path) -> None:
    """Add an evaluation to the summary of the run's wandb, as test/nll and so on; nothing where it has none.

    Args:
        folder: the run's folder.
        summary: what the evaluation found, by name.
        figure: a PNG.
    """
    if not (folder / "wandb").is_dir() or os.environ.get("WANDB_MODE") == "disabled" or not _installed():
        return
    import wandb

    with wandb.init(dir=folder.resolve(), job_type="evaluate", **wandb_settings(folder)) as run:
        run.log({f"{summary['split']}/evaluation": wandb.Image(str(figure))})
        run.summary.update({f"{summary['split']}/{name}": value for name, value in summary.items()})


def finish() -> None:
    """End the wandb run of this process, if there is one, so that the next training starts its own."""
    if wandb := sys.modules.get("wandb"):
        wandb.finish()


def _installed() -> bool:
    try:
        import wandb  # noqa: F401
    except ImportError:
        return False
    return True
