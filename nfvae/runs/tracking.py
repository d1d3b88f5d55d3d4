"""Log each run to a wandb run; do nothing if wandb is not installed or is disabled.

A failure in wandb only prints one line, because everything that it reports is on disk already.
"""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only
from typing_extensions import override

from nfvae.runs.folder import RunFolder, experiment_name
from nfvae.version import __version__

if TYPE_CHECKING:
    from wandb import Run as WandbRun

_AXIS = "trainer/global_step"  # horizontal axis of the charts
_VARIABLES = {  # of wandb; they override our values
    "project": "WANDB_PROJECT",
    "group": "WANDB_RUN_GROUP",
    "tags": "WANDB_TAGS",
    "job_type": "WANDB_JOB_TYPE",
    "mode": "WANDB_MODE",
}
_PATIENCE = {"init_timeout": 15, "finish_timeout": 300}  # seconds that a server may take, unless a variable sets them
_LAST_STEP = "last-step"  # file in the run's wandb folder: the last `_step` that was used


class RunLogger(WandbLogger):
    """Lightning's logger for wandb, with a new step for each row.

    wandb drops a row whose step (`_step`) was used before. A resumed training therefore uses only higher steps, even
    for rows that it repeats after the last checkpoint before a kill.

    Args:
        folder: the run's folder.
        settings: the arguments of `wandb.init`.
    """

    def __init__(self, folder: RunFolder, settings: dict[str, Any]) -> None:
        super().__init__(
            save_dir=settings["dir"], name=settings["name"], id=settings["id"], project=settings.get("project")
        )
        self.folder, self._wandb_init = folder, settings

    @property
    @override
    def experiment(self) -> Any:
        """The wandb run, which starts when it is first needed."""
        if not getattr(rank_zero_only, "rank", 0) and self._experiment is None and not hasattr(self, "_attach_id"):
            self._experiment = _start(self.folder, self._wandb_init)
            with _harmless():
                self._experiment.define_metric(_AXIS)
                self._experiment.define_metric("*", step_metric=_AXIS, step_sync=True)
        return super().experiment

    @override
    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        with _harmless():
            row = dict(metrics) if step is None else {**metrics, _AXIS: step}
            _log(self.experiment, self.folder, row, step or 0)

    @override
    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        with _harmless():
            super().log_hyperparams(params)


def wandb_logger(folder: RunFolder, settings: Mapping[str, Any]) -> RunLogger | None:
    """Return the logger of a run, see `wandb_settings`; None if wandb is not installed."""
    return RunLogger(folder, wandb_settings(folder, settings)) if _installed() else None


def wandb_settings(folder: RunFolder, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `wandb.init` for a run: grouped by experiment, tagged by flow, depth and objective.

    The id of an earlier start is used again. Without an account wandb stays offline. Environment variables of wandb,
    such as WANDB_PROJECT, take precedence, but nfvae always sets name and folder.

    Args:
        folder: the run's folder; wandb's own files are in its subfolder wandb.
        settings: every setting of the run, nested as in its config.yaml; empty if unknown.
    """
    import wandb
    from wandb.sdk.lib.runid import generate_id

    _silence()
    online = "WANDB_MODE" in os.environ or wandb.login(prompt=False, verify=False)
    own: dict[str, Any] = {"project": "nfvae", "mode": None if online else "offline"}
    if settings:
        model = settings["model"]
        flow = model["flow"].rpartition(":")[2].lower()
        optimized = model.get("target") or model.get("objective") or ("reverse_kl" if model.get("teacher") else "nll")
        own |= {
            "group": experiment_name(settings),
            "job_type": "distill" if model.get("teacher") else "train",
            "tags": [flow, f"depth {model['depth']}", optimized],
            "config": {**settings, "nfvae": __version__},
        }
    earlier = max(folder.path.glob("wandb/*run-*-*"), key=lambda path: path.stat().st_mtime, default=None)
    identity = (earlier and _id_in(earlier.name)) or os.environ.get("WANDB_RUN_ID") or generate_id()
    return {name: value for name, value in own.items() if not os.environ.get(_VARIABLES.get(name, ""))} | {
        "dir": str(folder.path.resolve()),
        "name": folder.name,
        "id": identity,
        "resume": "allow",
    }


def _silence() -> None:
    import wandb

    wandb.setup(settings=wandb.Settings(silent=True))


def _id_in(name: str) -> str | None:
    """Return the id in the name of a wandb run's folder; a restart within one second appends a number to it."""
    found = re.fullmatch(r"(?:offline-)?run-\d{8}_\d{6}-(\w+)(?:-\d+)?", name)
    return found[1] if found else None


def _start(folder: RunFolder, settings: Mapping[str, Any]) -> "WandbRun":
    """Start the wandb run: offline if the server does not answer, and disabled if that fails too."""
    import wandb

    limits: dict[str, Any] = {
        name: value for name, value in _PATIENCE.items() if f"WANDB_{name.upper()}" not in os.environ
    }
    quiet = wandb.Settings(silent=True, **limits)
    modes = [settings.get("mode"), "offline", "disabled"]
    for mode, after in zip(modes, [*modes[1:], None], strict=True):
        try:
            run = wandb.init(**{**settings, "mode": mode}, settings=quiet)
            break
        except Exception as error:
            if after is None:
                raise
            print(f"wandb cannot start ({_first_line(error)}): {after} now; WANDB_MODE={after} saves the attempt")
            wandb.teardown()  # which frees the run's id
            _silence()
    if not run.disabled:
        _use_step(folder, max(run.starting_step - 1, _last_step(folder)))  # the server may have later steps
    return run


def _log(run: "WandbRun", folder: RunFolder, row: Mapping[str, Any], step: int = 0) -> None:
    """Log a row at an unused step: the given one, or the next."""
    if not run.disabled:
        step = max(step, _last_step(folder) + 1)
        _use_step(folder, step)
        run.log({**row}, step=step, commit=True)


def _last_step(folder: RunFolder) -> int:
    file = folder.path / "wandb" / _LAST_STEP
    return int(file.read_text()) if file.is_file() else -1


def _use_step(folder: RunFolder, step: int) -> None:
    """Record a step as used, in one overwrite of fixed length, which a kill cannot cut."""
    file = folder.path / "wandb" / _LAST_STEP
    file.parent.mkdir(exist_ok=True)
    with file.open("r+" if file.is_file() else "w") as out:
        out.write(f"{step:20}")


@contextmanager
def _harmless() -> Iterator[None]:
    """Print an exception of wandb in one line, and continue."""
    try:
        yield
    except Exception as error:
        print(f"wandb failed ({_first_line(error)}); the files of the run are complete")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def summarize_best(logger: WandbLogger, metric: str, mode: str) -> None:
    """Make wandb's summary show a metric's best value (`max` or `min`) instead of its last."""
    with _harmless():
        logger.experiment.define_metric(metric, summary=mode, step_metric=_AXIS)


def log_run(logger: WandbLogger, pictures: list[Path], config: Path) -> None:
    """Log PNG files under their names, and upload the run's config as a file."""
    import wandb

    with _harmless():
        images: dict[str, Any] = {path.stem: wandb.Image(str(path)) for path in pictures}
        logger.log_metrics(images)
        run = logger.experiment
        kept = Path(run.dir, f"nfvae-{config.name}")  # wandb has a config.yaml of its own
        if kept.parent.is_dir():  # not if wandb is disabled
            shutil.copy(config, kept)
            run.save(str(kept), base_path=str(kept.parent), policy="now")


def log_artifact(logger: WandbLogger, folder: RunFolder) -> None:
    """Upload a run's best and last checkpoint and its config to wandb, as an artifact of type model."""
    import wandb

    with _harmless():
        artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", folder.name), type="model")
        for path in (folder.best, folder.last, folder.config):
            if path.is_file():
                artifact.add_file(str(path), name=path.relative_to(folder.path).as_posix())
        logger.experiment.log_artifact(artifact, aliases=["best"])


def log_results(folder: RunFolder, name: str, summary: Mapping[str, Any], figure: Path | None = None) -> None:
    """Add results, such as test/importance-5000/nll, to the summary of the wandb run, if there is one.

    Args:
        folder: the run's folder.
        name: split and estimator, such as test/importance-5000.
        summary: the results by name.
        figure: path of a PNG file.
    """
    if not (folder.path / "wandb").is_dir() or os.environ.get("WANDB_MODE") == "disabled" or not _installed():
        return
    import wandb

    with _harmless():
        run = _start(folder, wandb_settings(folder, folder.settings()))
        if figure:
            _log(run, folder, {f"{name}/figure": wandb.Image(str(figure))})
        run.summary.update({f"{name}/{key}": value for key, value in summary.items()})
    finish()


def finish(says: bool = True) -> None:
    """End the wandb run of this process, if there is one, so that the next training starts its own.

    Args:
        says: whether to print where the run is.
    """
    wandb = sys.modules.get("wandb")
    if not (wandb and wandb.run):
        return
    with _harmless():
        run = wandb.run
        where = _sync_command(Path(run.dir).parents[1]) if run.offline else run.url
        wandb.finish()
        if says and not run.disabled:
            print(f"wandb: {where}")


def _sync_command(folder: Path) -> str:
    """Return the command that uploads every start of a run, in their order."""
    near = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    return f"offline; to upload: wandb sync {shlex.quote(str(near))}/offline-run-*"


def _installed() -> bool:
    try:
        import wandb  # noqa: F401
    except ImportError:
        return False
    return True
