"""What is checked and read before a training begins."""

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
    """Check precision, callbacks, data and model, read teacher and first weights, and compile the step if requested."""

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
        """Take over the weights that are to be started from, unless a checkpoint has just brought later ones."""
        if not trainer.ckpt_path:
            load_start(pl_module)


def prepare_fit(module: Any, data: Any) -> None:
    """Check the data and the model before a training, and read the teacher where there is one.

    Args:
        module: the training module.
        data: the data module, or data of your own; None where there is none.

    Raises:
        ValueError: for data of another form than the model's or the teacher's, or a model whose parts do not fit.
        FileNotFoundError: if there is no such teacher.
    """
    check_spec(module, data)
    module.check_model()
    if teacher := module.hparams.get("teacher"):
        if module.teacher is None:
            module.learn_from(Teacher(teacher, module.kind))
        module.teacher.check_data(data)


def check_spec(module: Any, data: Any) -> None:
    """Refuse data of another form than the model's; data without an attribute `spec` are taken.

    Raises:
        ValueError: for such data.
    """
    if (found := getattr(data, "spec", module.spec)) != module.spec:
        raise ValueError(f"the model expects shape {module.spec}; the data have {found}")


def load_start(module: Any) -> None:
    """Take over the weights of the run that is to be started from, where there is one.

    Raises:
        FileNotFoundError: if there is no such run.
        ValueError: if it is of another kind or architecture, was exported without weights, or is damaged.
    """
    if module.hparams["start"]:
        load_weights(module.model, *starting_weights(module, module.hparams["start"]))
        if module.teacher:  # whose parts are the student's, whatever it starts from
            module.learn_from(module.teacher)


def check_resumable(module: Any, checkpoint: Mapping[str, Any]) -> None:
    """Refuse a checkpoint from which the training cannot go on, states of the optimizer included.

    Raises:
        ValueError: for such a checkpoint.
    """
    check_same_training(module, checkpoint, module.teacher)
    module.check_states(checkpoint)


def prepare_resume(module: Any, checkpoint: dict[str, Any]) -> None:
    """Check a checkpoint that a training goes on from, and give it the learning rate and patience that are set now.

    Raises:
        ValueError: for a checkpoint from which the training cannot go on.
    """
    check_resumable(module, checkpoint)
    check_alike("checkpoint", checkpoint, _own_parts(module.trainer))
    with_new_rate(checkpoint, module.hparams["lr"])
    begin_patience_anew(module.trainer, checkpoint)


def _own_parts(trainer: Any) -> dict[str, Any]:
    """Return what a checkpoint of the trainer holds of its loops; of callbacks only that each has a state by name."""
    return {
        "loops": {"fit_loop": trainer.fit_loop.state_dict()},
        "callbacks": {each.state_key: {} for each in trainer.callbacks},
    }
