"""The base class of all training: settings, optimizer, checks, metrics and checkpoints."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import pytorch_lightning as pl
from torch import Tensor
from typing_extensions import override

from nfvae.models import DataSpec
from nfvae.registry import class_paths, save_plainly
from nfvae.runs import Run
from nfvae.runs.checkpoint import seal
from nfvae.training.callbacks import ReproducibleEpochs
from nfvae.training.compiling import compile_callbacks
from nfvae.training.optimizers import check_optimization, check_states, make_optimizer, with_schedule
from nfvae.training.preparation import Preparation, prepare_resume
from nfvae.training.recorder import Recorder, data_of
from nfvae.training.saving import load_on, without_lightning_options
from nfvae.training.teacher import Teacher


class TrainingModule(pl.LightningModule, ABC):
    """Train a plain model as a LightningModule.

    A subclass builds the plain model as `model`, defines its loss, and passes on its `training` arguments. The module
    can be rebuilt from the hyperparameters in its checkpoint alone.

    Args:
        optimizer: name of the optimizer: `adam`, `adamax`, `adamw`, or "package.module:Class", such as torch.optim:SGD.
        optimizer_options: options of the optimizer's class, such as `weight_decay: 0.01` for adamw.
        lr: learning rate.
        schedule: learning-rate schedule: `constant`, `cosine` (to zero at the last step), `multistep`, or
            torch.optim.lr_scheduler:NAME.
        schedule_options: options of the schedule's class, such as `step_size: 20` for StepLR.
        milestones: epochs at which `multistep` divides the learning rate by 10.
        compile: whether to compile the training step with `torch.compile`, which takes some seconds at the start;
            `auto` compiles only in a long training where that is faster.
        start: folder of a run of the same architecture, or a checkpoint, with the initial weights; the optimizer and
            its schedule start afresh.
        shape: shape of a datum; the command line takes it from the data set.
        levels: number of values that each element of a datum can have; the command line takes it from the data set.
        conditions: number of conditions of a datum, such as classes; the command line takes it from the data set.
        missing: whether values can be missing; the command line takes it from the data set.

    Attributes:
        model: the plain model.
        kind: kind of the model, a name in `nfvae.runs.checkpoint.MODELS`.
        task: name of the task in `nfvae.training.TASKS`.
        architecture: hyperparameters that a checkpoint must share to be loaded.
        teacher: trained model that a student learns from, during a fit.
        recorder: collects the metrics.
        step_function: function that a training step calls: `loss_and_metrics` or its compiled form.
        from_teacher: constructor arguments that follow from the teacher, and are not settings.
        pictures: names of the pictures drawn at the end of training.
        monitor: validation metric that selects the best epoch.
        mode: `max` if a larger monitored metric is better, `min` if a smaller one is.
        clip: largest norm of the gradient, unless the trainer sets `gradient_clip_val`; None for no limit.

    Raises:
        ValueError: for an unknown name or a value out of range.
        FloatingPointError: in a step, if the loss or a metric is not finite.
    """

    model: Any
    kind: ClassVar[str]
    task: ClassVar[str]
    architecture: ClassVar[tuple[str, ...]]
    teacher: Teacher | None
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
        shape: list[int] = [28, 28],  # noqa: B006
        levels: int | None = 2,
        conditions: int = 0,
        missing: bool = False,
    ) -> None:
        super().__init__()
        self.recorder, self.teacher = Recorder(), None
        self.step_function: Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]] = self.loss_and_metrics
        save_plainly(self)
        check_optimization(self.hparams)

    @abstractmethod
    def loss_and_metrics(self, batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss, a scalar in nats, and detached metrics by name; the progress bar shows the first one."""

    @abstractmethod
    def evaluation_metrics(self, split: str, batch: Tensor) -> dict[str, Tensor]:
        """Return the metrics, by name, of a batch of the `val` or `test` split."""

    def anneal(self, step: int, epochs: float) -> None:
        """Update the quantities that change during training; called before each training step.

        Args:
            step: optimizer steps done.
            epochs: epochs done, with fractions.
        """

    @property
    def is_warming_up(self) -> bool:
        """Whether the loss does not have its final form yet."""
        return False

    def as_batch(self, batch: Any, first: bool) -> Tensor:
        """Return the data of a batch (see `data_of`) in the model's dtype; subclasses check the first batch."""
        return data_of(batch).to(self.dtype)

    def check_model(self) -> None:
        """Refuse a model whose parts do not fit each other.

        Raises:
            ValueError: if they do not fit.
        """

    def learn_from(self, teacher: Teacher) -> None:
        """Store the student's teacher.

        Raises:
            ValueError: if the teacher's data have another shape.
        """
        teacher.check_shape(self.hparams["shape"])
        self.teacher = teacher

    @property
    def spec(self) -> DataSpec:
        """The form of the data."""
        return DataSpec.of(self.hparams)

    def check_states(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse a checkpoint whose optimizer states do not fit; a subclass's own optimizer is not checked.

        Raises:
            ValueError: for states that do not fit the optimizer.
        """
        if type(self).configure_optimizers is TrainingModule.configure_optimizers:
            check_states(self.hparams, self.parameters(), checkpoint)

    @override
    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls, checkpoint_path: Path | str, map_location: Any = None, *, trust: tuple[str, ...] = (), **changes: Any
    ) -> Self:
        """Load a trained module from a checkpoint, without running any code in the file.

        Args:
            checkpoint_path: a checkpoint, or the folder of a run, which stands for its best checkpoint.
            map_location: device, or any other value that `torch.load` takes; by default the CPU.
            trust: your own classes, as "package.module:Class", that the checkpoint may name; classes in `changes` are
                trusted too.
            changes: hyperparameters that replace the saved ones. Lightning's `strict`, `weights_only` and
                `hparams_file` accept only their defaults here: weights must fit, nothing in the file is run, and the
                checkpoint holds its settings.

        Raises:
            FileNotFoundError: if there is no such run or checkpoint.
            ValueError: if the checkpoint is damaged, of another kind, or names an untrusted class; for a bad argument.
        """
        run = Run(checkpoint_path, {*trust, *class_paths(changes)})
        return load_on(cls, run, map_location, **without_lightning_options(cls.__name__, changes))

    @override
    def configure_callbacks(self) -> list[pl.Callback]:
        """Add the callbacks of every training: preparation, reproducible epochs, metrics, and compilation."""
        return [Preparation(), ReproducibleEpochs(), self.recorder, *compile_callbacks(self.hparams["compile"])]

    @override
    def configure_optimizers(self) -> Any:
        optimizer = make_optimizer(self.hparams, self.parameters(), self.device)
        return with_schedule(optimizer, self.hparams, lambda: self.trainer.estimated_stepping_batches)

    @override
    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip at the trainer's `gradient_clip_val`, or else at `clip`."""
        limit = self.clip if gradient_clip_val is None else gradient_clip_val
        self.clip_gradients(optimizer, limit, gradient_clip_algorithm or "norm")

    @override
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.anneal(self.global_step, self.current_epoch + batch_idx / float(self.trainer.num_training_batches))
        data = self.as_batch(batch, batch_idx == 0)
        loss, metrics = self.step_function(data)
        return self.recorder.add_step(self, loss, metrics, len(data))

    @override
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        data, split = self.as_batch(batch, batch_idx == 0), "test" if self.trainer.testing else "val"
        self.recorder.add_evaluation(self.evaluation_metrics(split, data), len(data), batch_idx == 0)

    test_step = validation_step

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint |= {"task": self.task, "model": self.kind, "stopped": self.trainer.should_stop}
        checkpoint |= {"teacher": self.teacher.digest} if self.teacher else {}
        seal(checkpoint)

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        prepare_resume(self, checkpoint)
