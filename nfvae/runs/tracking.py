"""One wandb run for each of our runs, whoever writes to it; nothing where wandb is not installed or is disabled."""

import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import WandbLogger

from nfvae.runs.folder import RunFolder, experiment_name


def wandb_logger(folder: RunFolder, settings: Mapping[str, Any]) -> WandbLogger | None:
    """Return the logger of a run, grouped by experiment, tagged by flow, depth and what is optimized.

    Args:
        folder: the run's folder.
        settings: every setting of the run, nested as in its config.yaml.

    Returns:
        The logger; None where wandb is not installed.
    """
    if not _installed():
        return None
    from nfvae import __version__

    model, task = settings["model"], settings["task"]
    flow = model["flow"].rpartition(":")[2].lower()
    optimized = model.get("target") or model.get("objective") or ("reverse_kl" if model.get("teacher") else "nll")
    logger = WandbLogger(
        **wandb_settings(folder),
        save_dir=folder.path.resolve(),
        group=experiment_name(settings),
        job_type="distill" if task == "distill" else "train",
        tags=[flow, f"depth {model['depth']}", optimized],
        config={**settings, "nfvae": __version__},
    )
    logger._wandb_init.pop("anonymous", None)  # which wandb warns about, whatever its value
    return logger


def wandb_settings(folder: RunFolder) -> dict[str, Any]:
    """Return the arguments of `wandb.init` that name a run: the id of an earlier call where there was one.

    Without an account, and where the user's WANDB_MODE says nothing, wandb stays offline.

    Args:
        folder: the run's folder; wandb's own files are in its subfolder wandb.
    """
    import wandb

    mode = os.environ.get("WANDB_MODE") or (None if wandb.login(prompt=False, verify=False) else "offline")
    earlier = max(folder.path.glob("wandb/*run-*-*"), key=lambda path: path.stat().st_mtime, default=None)
    return {
        "project": "nfvae",
        "name": folder.name,
        "id": earlier and _id_in(earlier.name),
        "resume": "allow",
        "mode": mode,
    }


def _id_in(name: str) -> str | None:
    """Return the id in the name of a run's folder; a second start within one second has a number behind it."""
    found = re.fullmatch(r"(?:offline-)?run-\d{8}_\d{6}-(\w+)(?:-\d+)?", name)
    return found[1] if found else None


def summarize_best(logger: WandbLogger, metric: str, mode: str) -> None:
    """Have wandb's summary show a metric's best value (`max` or `min`) instead of its last."""
    logger.experiment.define_metric(metric, summary=mode, step_metric="trainer/global_step")


def log_run(logger: WandbLogger, pictures: list[Path], config: Path) -> None:
    """Log PNGs, each by its file's name, and keep the run's config as a file."""
    import wandb

    logger.experiment.log({path.stem: wandb.Image(str(path)) for path in pictures})
    kept = Path(logger.experiment.dir, f"nfvae-{config.name}")  # wandb has a config.yaml of its own
    if kept.parent.is_dir():  # not where wandb is disabled
        shutil.copy(config, kept)
        logger.experiment.save(str(kept), base_path=str(kept.parent), policy="now")


def log_artifact(logger: WandbLogger, folder: RunFolder) -> None:
    """Keep a run's best and last checkpoint and its config in wandb, as an artifact of type model."""
    import wandb

    artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", folder.name), type="model")
    for path in (folder.best, folder.last, folder.config):
        if path.is_file():
            artifact.add_file(str(path), name=path.relative_to(folder.path).as_posix())
    logger.experiment.log_artifact(artifact, aliases=["best"])


def log_results(folder: RunFolder, name: str, summary: Mapping[str, Any], figure: Path | None = None) -> None:
    """Add what was found to the summary of the run's wandb, as test/importance-5000/nll; nothing where it has none.

    Args:
        folder: the run's folder.
        name: of split and estimator, as test/importance-5000.
        summary: what was found, by name.
        figure: a PNG.
    """
    if not (folder.path / "wandb").is_dir() or os.environ.get("WANDB_MODE") == "disabled" or not _installed():
        return
    import wandb

    with wandb.init(dir=folder.path.resolve(), job_type="evaluate", **wandb_settings(folder)) as run:
        if figure:
            run.log({f"{name}/figure": wandb.Image(str(figure))})
        run.summary.update({f"{name}/{key}": value for key, value in summary.items()})


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
