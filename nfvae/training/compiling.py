"""Compile the training step where that saves time."""

import copy
import statistics
import time
from collections.abc import Callable
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor
from typing_extensions import override

_TRIALS = 7
_SHORT = 120  # seconds; a shorter training ends before compiling pays
_WORTH = 0.95  # largest share of an eager step's time at which a compiled step is used
Step = Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]


def compiled(step: Step, device: torch.device) -> Step:
    """Compile a step; on a GPU into a captured graph, whose metrics are cloned before the next step overwrites them."""
    torch.compiler.reset()  # else compiling stops after about eight trainings in one process
    if device.type != "cuda":
        return torch.compile(step)
    captured: Step = torch.compile(step, mode="reduce-overhead")

    def keeping(batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss, metrics = captured(batch)
        return loss, {name: value.clone() for name, value in metrics.items()}

    return keeping


class CompileWherePays(pl.Callback):
    """Time an eager and a compiled step on the first batch, and train with the faster one.

    Nothing is compiled if the whole training takes less than two minutes, or runs in several processes.
    Weights, buffers and random numbers are restored afterwards; a resumed run keeps the choice.
    """

    def __init__(self) -> None:
        self.chosen: bool | None = None
        self.quick: Step | None = None
        self.is_done = False

    @override
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.is_done or not hasattr(pl_module, "step_function"):
            return
        self.is_done = True
        if self.chosen is None:
            self.chosen, why = self._choose(trainer, pl_module, cast(Any, pl_module).as_batch(batch, first=True))
            trainer.print(f"compile auto: {why}; steps are {'' if self.chosen else 'not '}compiled")
        if self.chosen:
            module: Any = pl_module
            module.step_function = self.quick or compiled(module.step_function, module.device)

    def _choose(self, trainer: pl.Trainer, module: Any, batch: Tensor) -> tuple[bool, str]:
        """Return whether to compile the step, and the reason."""
        if trainer.world_size > 1:
            return False, "there are several processes"
        saved = copy.deepcopy(module.state_dict())
        devices = [module.device] if module.device.type == "cuda" else []
        with torch.random.fork_rng(devices), trainer.precision_plugin.train_step_context():
            try:
                return self._compare(trainer.estimated_stepping_batches - trainer.global_step, module, batch)
            finally:
                module.load_state_dict(saved)

    def _compare(self, steps: float, module: Any, batch: Tensor) -> tuple[bool, str]:
        eager = _seconds(module, module.step_function, batch)
        if steps * eager < _SHORT:
            return False, f"the training takes less than {_SHORT} s"
        try:
            self.quick = compiled(module.step_function, module.device)
            quick = _seconds(module, self.quick, batch)
        except Exception as error:  # no compiler, or a flow that cannot be traced
            return False, f"a step cannot be compiled ({str(error).splitlines()[0]})"
        return quick < _WORTH * eager, f"a step takes {1e3 * eager:.1f} ms, and {1e3 * quick:.1f} ms compiled"

    @override
    def state_dict(self) -> dict[str, Any]:
        return {"chosen": self.chosen}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.chosen = state_dict["chosen"]


def compile_callbacks(setting: bool | str) -> list[pl.Callback]:
    """Return the callbacks for a value of the setting `compile`."""
    return [CompileWherePays()] if setting == "auto" else []


def _seconds(module: Any, step: Step, batch: Tensor) -> float:
    """Return the median time of a step with its backward pass, after two warm-up steps; discard the gradients."""
    times = []
    for _ in range(2 + _TRIALS):
        start = time.perf_counter()
        step(batch)[0].backward()  # type: ignore[no-untyped-call]
        if batch.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
        module.zero_grad()
    return statistics.median(times[2:])
