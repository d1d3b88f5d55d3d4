"""What every training here shares: settings, optimizer, checks, metrics, and what its checkpoint says."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, final

import pytorch_lightning as pl
from torch import Tensor, nn
from typing_extensions import override

from nfvae.models import DataSpec
from nfvae.registry import class_paths, save_plainly
from nfvae.runs import Run
from nfvae.runs.checkpoint import load_weights, seal
from nfvae.training.callbacks import ReproducibleEpochs, check_callbacks
from nfvae.training.compiling import CompileWherePays, compiled
from nfvae.training.optimizers import check_optimization, check_states, make_optimizer, with_schedule
from nfvae.training.recorder import Recorder, data_of
from nfvae.training.saving import (
    check_lightning_options,
    check_loadable,
    check_same_training,
    load_on,
    prepare_resume,
    starting_weights,
)
from nfvae.training.teacher import Teacher

_TOO_COARSE = ("16-true", "bf16-true")


class TrainingModule(pl.LightningModule, ABC):
    """A LightningModule that trains a plain model.

    A subclass builds the plain model as `model`, says what its loss is, and passes on its `training` arguments. A
    checkpoint holds all hyperparameters, from which alone the module is built again.

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
        model: the plain model.
        kind: what that is, a name in `nfvae.runs.run.MODELS` and in `DATA`.
        task: the name in `nfvae.training.TASKS`.
        architecture: the hyperparameters that a checkpoint must share to be loaded.
        teacher: the trained model that a student learns from, in a fit.
        recorder: collects the metrics.
        step_function: what a training step calls, `loss_and_metrics` or that compiled.
        from_teacher: arguments of the constructor that follow from a teacher, and are no settings.
        pictures: names of the pictures that are drawn at the end.
        monitor: the validation metric that tells the best epoch.
        mode: whether the monitored metric is to be `max` or `min`.
        clip: largest norm of a gradient, where the trainer has no `gradient_clip_val` of its own; None for no limit.

    Raises:
        ValueError: for an unknown name or a value out of range.
        FloatingPointError: from its steps, if the loss or a metric is not finite.
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
    ) -> None:
        super().__init__()
        self.recorder, self.teacher = Recorder(), None
        self.step_function: Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]] = self.loss_and_metrics
        save_plainly(self)
        check_optimization(self.hparams)

    @abstractmethod
    def loss_and_metrics(self, batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss, a scalar in nats, and what is logged by name, detached; a progress bar shows the first."""

    @abstractmethod
    def evaluation_metrics(self, split: str, batch: Tensor) -> dict[str, Tensor]:
        """Return by name what is logged of a batch of the `val` or `test` split."""

    def anneal(self, step: int, epochs: float) -> None:
        """Set whatever changes in the course of training; called before each training step.

        Args:
            step: optimizer steps done.
            epochs: epochs done, batches counted as fractions.
        """

    @property
    def is_warming_up(self) -> bool:
        """Whether the loss does not have its final form yet."""
        return False

    def as_batch(self, batch: Any, first: bool) -> Tensor:
        """Take the data of a batch, see `data_of`, of the model's floating type; more is checked of the first one."""
        return data_of(batch).to(self.dtype)

    def check_model(self) -> None:
        """Refuse a model whose parts do not fit each other.

        Raises:
            ValueError: for such a model.
        """

    def learn_from(self, teacher: Teacher) -> None:
        """Keep the teacher of a student.

        Raises:
            ValueError: for a teacher of data of another shape.
        """
        teacher.check_shape(self.hparams["shape"])
        self.teacher = teacher

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

    @final
    def prepare_fit(self, data: Any) -> None:
        """Check the data and the model before a training, and read the teacher where there is one.

        Raises:
            ValueError: for data of another form than the model's or the teacher's, or a model that does not fit.
            FileNotFoundError: if there is no such teacher.
        """
        self.check_spec(data)
        self.check_model()
        if teacher := self.hparams.get("teacher"):
            if self.teacher is None:
                self.learn_from(Teacher(teacher, self.kind))
            assert self.teacher is not None
            self.teacher.check_data(data)

    @final
    def load_start(self) -> None:
        """Take over the weights of the run that is to be started from, where there is one; raises as it does."""
        if self.hparams["start"]:
            load_weights(self.model, *starting_weights(self, self.hparams["start"]))
            if self.teacher:  # whose parts are the student's, whatever it starts from
                self.learn_from(self.teacher)

    def check_resumable(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse a checkpoint from which the training cannot go on, states of the optimizer included.

        Raises:
            ValueError: for such a checkpoint.
        """
        check_same_training(self, checkpoint, self.teacher)
        if type(self).configure_optimizers is TrainingModule.configure_optimizers:
            check_states(self.hparams, self._learning(), checkpoint)

    def _learning(self) -> list[nn.Parameter]:
        """Return the parameters that the optimizer changes."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    @override
    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls,
        checkpoint_path: Path | str,
        map_location: Any = None,
        hparams_file: None = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        trust: tuple[str, ...] = (),
        **changes: Any,
    ) -> Self:
        """Load what was trained; nothing that the file holds is run.

        Args:
            checkpoint_path: a checkpoint, or the folder of a run, whose best one is meant.
            map_location: the device, or whatever else `torch.load` takes; by default the CPU.
            hparams_file: Lightning's, which has to be None: the checkpoint holds its settings.
            strict: Lightning's; False is refused, as weights always have to fit.
            weights_only: Lightning's; False is refused, as it would run what the file holds.
            trust: "package.module:Class" of your own that the checkpoint may name; those in `changes` are trusted too.
            changes: hyperparameters other than the saved ones.

        Raises:
            FileNotFoundError: if there is no such run or checkpoint.
            ValueError: if the checkpoint is damaged, of another kind, or names a class not trusted; for a bad argument.
        """
        options = {"strict": strict, "weights_only": weights_only, "hparams_file": hparams_file}
        check_lightning_options(cls.__name__, options)
        run = Run(checkpoint_path, {*trust, *class_paths(changes)})
        return load_on(cls, run, map_location, **changes)

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

    @override
    def on_train_epoch_start(self) -> None:
        self.recorder.begin_epoch()

    @override
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.anneal(self.global_step, self.current_epoch + batch_idx / float(self.trainer.num_training_batches))
        data = self.as_batch(batch, batch_idx == 0)
        loss, metrics = self.step_function(data)
        self.recorder.add_step(self, loss, metrics, len(data))
        return loss

    @override
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.recorder.end_step(self)

    @override
    def on_train_epoch_end(self) -> None:
        self.recorder.end_epoch(self)

    @override
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate("val", batch, batch_idx)

    @override
    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate("test", batch, batch_idx)

    def _evaluate(self, split: str, batch: Any, batch_idx: int) -> None:
        data = self.as_batch(batch, batch_idx == 0)
        self.recorder.add_evaluation(self.evaluation_metrics(split, data), len(data), batch_idx == 0)

    @override
    def on_validation_epoch_end(self) -> None:
        self.recorder.end_validation(self)

    @override
    def on_test_epoch_end(self) -> None:
        self.recorder.end_test(self)

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint |= {"task": self.task, "model": self.kind, "stopped": self.trainer.should_stop}
        checkpoint |= {"teacher": self.teacher.digest} if self.teacher else {}
        seal(checkpoint)

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.check_resumable(checkpoint)
        prepare_resume(self.trainer, checkpoint, self.hparams["lr"])
