"""What every training here shares: settings, optimizer, checks, and what its checkpoint says."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import pytorch_lightning as pl
from torch import nn
from typing_extensions import override

from nfvae.models import DataSpec
from nfvae.registry import save_plainly
from nfvae.training.callbacks import ReproducibleEpochs, check_callbacks
from nfvae.training.compiling import CompileWherePays, compiled
from nfvae.training.optimizers import check_optimization, check_states, make_optimizer, with_schedule
from nfvae.training.rows import MetricRows
from nfvae.training.saving import SavedModule, check_loadable

_TOO_COARSE = ("16-true", "bf16-true")


class TrainingModule(SavedModule, MetricRows):
    """A LightningModule that trains a plain model.

    A subclass builds the plain model as `model`, says what its loss is, and passes on its `training` arguments.

    Args:
        optimizer: `adam`, `adamax`, `adamw`, or "package.module:Class", as torch.optim:SGD.
        optimizer_options: further arguments of the optimizer's class, as `weight_decay: 0.01` of adamw.
        lr: learning rate.
        schedule: `constant`, `cosine` (to zero at the last step), `multistep`, or torch.optim.lr_scheduler:NAME.
        schedule_options: further arguments of the schedule's class, as `step_size: 20` of StepLR.
        milestones: epochs at which `multistep` divides the rate by 10.
        compile: whether the training step goes through `torch.compile`, which costs some seconds at the start; `auto`
            for whatever is quicker in a long training.
        start: the folder of a run of the same architecture, or a checkpoint, whose weights are the first ones; the
            optimizer and its schedule begin anew.

    Attributes:
        from_teacher: arguments of the constructor that follow from a teacher, and are no settings.
        pictures: names of the pictures that are drawn at the end.
        monitor: the validation metric that tells the best epoch.
        mode: whether the monitored metric is to be `max` or `min`.
        clip: largest norm of a gradient, where the trainer has no `gradient_clip_val` of its own; None for no limit.

    Raises:
        ValueError: for an unknown name or a value out of range.
    """

    from_teacher: ClassVar[frozenset[str]] = frozenset()
    pictures: ClassVar[tuple[str, ...]]
    monitor: str
    mode: str
    clip: ClassVar[float | None] = None

    def __init__(
        self,
        optimizer: str = "adam",
        optimizer_options: dict[str, Any] | None = None,
        lr: float = 1e-3,
        schedule: str = "constant",
        schedule_options: dict[str, Any] | None = None,
        milestones: list[int] = [],  # noqa: B006  (a plain list, so that the command line shows it; never changed)
        compile: bool | Literal["auto"] = False,
        start: str | None = None,
    ) -> None:
        super().__init__()
        save_plainly(self)
        check_optimization(self.hparams)

    def prepare_fit(self, data: Any) -> None:
        """Check before a training what can be checked before anything is written.

        Raises:
            ValueError: for data of another shape than the model's.
        """
        self.check_spec(data)

    @property
    def spec(self) -> DataSpec:
        """The form of a datum."""
        return DataSpec(tuple(self.hparams["shape"]), self.hparams.get("levels"))

    def check_spec(self, data: Any) -> None:
        """Refuse data of another form than the model's; data without an attribute `spec` are taken.

        Raises:
            ValueError: for such data.
        """
        if (found := getattr(data, "spec", self.spec)) != self.spec:
            raise ValueError(f"the model expects shape {self.spec}; the data have {found}")

    @override
    def check_resumable(self, checkpoint: Mapping[str, Any]) -> None:
        super().check_resumable(checkpoint)
        if type(self).configure_optimizers is TrainingModule.configure_optimizers:
            check_states(self.hparams, self._learning(), checkpoint)

    def _learning(self) -> list[nn.Parameter]:
        """Return the parameters that the optimizer changes."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    @override
    def configure_callbacks(self) -> list[pl.Callback]:
        """Add what makes a resumed run equal to one that was never interrupted, and what chooses how a step is run."""
        return [ReproducibleEpochs(), *([CompileWherePays()] if self.hparams["compile"] == "auto" else [])]

    @override
    def setup(self, stage: str) -> None:
        """Check the precision and the data, and compile the step where that is asked for."""
        if (precision := str(self.trainer.precision)) in _TOO_COARSE:
            raise ValueError(
                f"precision {precision} keeps weights and densities in 16 bits, in which a flow and its inverse "
                "disagree; take bf16-mixed, whose densities are float32, or 32-true"
            )
        if stage == "fit":
            check_callbacks(self.trainer)
            check_loadable(self)
        data = getattr(self.trainer, "datamodule", None)
        self.prepare_fit(data) if stage == "fit" else self.check_spec(data)
        if self.teacher:
            self.teacher.to(self.trainer.strategy.root_device)
        if stage == "fit" and self.hparams["compile"] is True:
            self.step_function = compiled(self.loss_and_metrics, self.trainer.strategy.root_device)

    @override
    def on_fit_start(self) -> None:
        """Take over the weights that are to be started from, unless a checkpoint has just brought later ones."""
        if not self.trainer.ckpt_path:
            self.load_start()

    @override
    def configure_optimizers(self) -> Any:
        optimizer = make_optimizer(self.hparams, self._learning(), self.device)
        return with_schedule(optimizer, self.hparams, lambda: self.trainer.estimated_stepping_batches)

    @override
    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip as the trainer says, or else at `clip`."""
        limit = self.clip if gradient_clip_val is None else gradient_clip_val
        self.clip_gradients(optimizer, limit, gradient_clip_algorithm or "norm")
