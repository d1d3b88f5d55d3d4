"""Checks and loading before training starts."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from typing_extensions import override

from nfvae.runs.checkpoint import check_alike, load_weights
from nfvae.training.callbacks import begin_patience_anew, check_callbacks
from nfvae.training.compiling import compiled
from nfvae.training.optimizers import with_new_rate
from nfvae.training.saving import check_loadable, check_same_training, starting_weights
from nfvae.training.teacher import Teacher

_TOO_COARSE = ("16-true", "bf16-true")


class Preparation(pl.Callback):
    """Check precision, callbacks, data and model; load teacher and initial weights; compile if requested."""

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        module: Any = pl_module
        if (precision := str(trainer.precision)) in _TOO_COARSE:
            raise ValueError(
                f"precision {precision} keeps weights and densities in 16 bits, in which a flow and its inverse "
                "disagree; take bf16-mixed, whose densities are float32, or 32-true"
            )
        data = getattr(trainer, "datamodule", None)
        if stage != "fit":
            check_spec(module, data)
            return
        check_callbacks(trainer)
        check_loadable(module)
        prepare_fit(module, data)
        if module.teacher:
            module.teacher.to(trainer.strategy.root_device)
        if module.hparams["compile"] is True:
            module.step_function = compiled(module.loss_and_metrics, trainer.strategy.root_device)

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Load the initial weights, unless the fit resumes from a checkpoint."""
        if not trainer.ckpt_path:
            load_start(pl_module)


def prepare_fit(module: Any, data: Any) -> None:
    """Check the data and the model before training, and load the teacher if there is one.

    Args:
        module: the training module.
        data: the data module, or your own data; None if there is none.

    Raises:
        ValueError: for data that do not match the model or the teacher, or a model whose parts do not fit.
        FileNotFoundError: if there is no such teacher.
    """
    check_spec(module, data)
    module.check_model()
    if teacher := module.hparams.get("teacher"):
        if module.teacher is None:
            module.learn_from(Teacher(teacher, module.kind))
        module.teacher.check_data(data)


def check_spec(module: Any, data: Any) -> None:
    """Refuse data whose `spec` differs from the model's; data without a `spec` are accepted.

    Raises:
        ValueError: if the two differ.
    """
    if (found := getattr(data, "spec", module.spec)) != module.spec:
        raise ValueError(f"the model expects shape {module.spec}; the data have {found}")


def load_start(module: Any) -> None:
    """Load the initial weights from the run in the setting `start`, if it is set.

    Raises:
        FileNotFoundError: if there is no such run.
        ValueError: if it is of another kind or architecture, was exported without weights, or is damaged.
    """
    if module.hparams["start"]:
        load_weights(module.model, *starting_weights(module, module.hparams["start"]))
        if module.teacher:  # a student has its teacher's parts, whatever it starts from
            module.learn_from(module.teacher)


def check_resumable(module: Any, checkpoint: Mapping[str, Any]) -> None:
    """Refuse a checkpoint from which training cannot resume; the optimizer's states are checked too.

    Raises:
        ValueError: if training cannot resume from it.
    """
    check_same_training(module, checkpoint, module.teacher)
    module.check_states(checkpoint)


def prepare_resume(module: Any, checkpoint: dict[str, Any]) -> None:
    """Check a checkpoint to resume from, and apply the current learning rate and patience to it.

    Raises:
        ValueError: if training cannot resume from it.
    """
    check_resumable(module, checkpoint)
    check_alike("checkpoint", checkpoint, _own_parts(module.trainer))
    with_new_rate(checkpoint, module.hparams["lr"])
    begin_patience_anew(module.trainer, checkpoint)


def _own_parts(trainer: Any) -> dict[str, Any]:
    """Return the expected parts of a checkpoint: the fit loop's state, and the name of each callback's state."""
    return {
        "loops": {"fit_loop": trainer.fit_loop.state_dict()},
        "callbacks": {each.state_key: {} for each in trainer.callbacks},
    }
