"""Training by the evidence lower bound, as a LightningModule."""

import math
import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR, MultiStepLR

from nfvae import objectives
from nfvae.callbacks import ReproducibleEpochs
from nfvae.decoder import BernoulliDecoder
from nfvae.flows import make_flow
from nfvae.importance import log_likelihood
from nfvae.posterior import Posterior
from nfvae.prior import StandardNormal
from nfvae.vae import VAE, LogTerms

_CHOICES = {
    "objective": ("elbo", "iwae"),
    "beta_schedule": ("constant", "linear", "rezende"),
    "optimizer": ("adam", "adamax"),
    "schedule": ("constant", "cosine", "multistep"),
}

_ARCHITECTURE = ("flow", "depth", "flow_options", "latent", "context", "hidden", "activation", "pixels")


class FlowVAE(pl.LightningModule):
    """Train a VAE whose posterior is a normalizing flow (Rezende & Mohamed, 2015; Kingma et al., 2016).

    The plain model is the attribute `model`. Logged, in nats per image: `train/…` and `val/…` of `elbo` (always with
    β = 1), `reconstruction` E log p(x|z), `kl`, `log_det` (the flow's mean log-determinant), `iwae` (the bound of
    `samples` samples, where that is the objective), and `train/beta`; `val/nll` and `test/nll` (`nfvae.importance`).

    Args:
        flow: a name in `nfvae.flows.FLOWS`, or "package.module:Class" of one's own.
        depth: layers of the flow.
        flow_options: further arguments of the flow's class, as `hidden: 320` of iaf.
        latent: D, the number of latent coordinates.
        context: C, the size of the encoder's context h for the flow; 0 makes the flow global.
        hidden: widths of the encoder's layers; the decoder has the same, in reverse.
        activation: of encoder and decoder: elu, gelu, relu, silu, softplus or tanh.
        objective: `elbo`, or `iwae` for the importance-weighted bound.
        samples: K, posterior samples an image and step.
        beta: final weight of the KL; `elbo` only.
        beta_schedule: `constant`, `linear` over `warmup_epochs`, or `rezende` (min(1, 0.01 + step/10000)).
        warmup_epochs: epochs that `linear` takes.
        free_bits: nats an image of KL that cost nothing; `elbo` only.
        val_samples: importance samples an image for `val/nll`; 0 leaves it out.
        test_samples: importance samples an image for `test/nll`; 0 leaves it out.
        optimizer: `adam` or `adamax`.
        lr: learning rate.
        schedule: `constant`, `cosine` (to zero at the last step), or `multistep`.
        milestones: epochs at which `multistep` divides the rate by 10.
        compile: whether the training step goes through `torch.compile`, which costs some seconds at the start.
        pixels: P, pixels of an image; the command line takes it from the data set.

    Raises:
        ValueError: for an unknown name or a value out of range.

    Example:
        >>> FlowVAE(flow="planar", depth=2, pixels=64, hidden=[32]).model(torch.zeros(5, 64)).likelihood.shape
        torch.Size([1, 5])
    """

    def __init__(
        self,
        flow: str = "iaf",
        depth: int = 4,
        flow_options: dict[str, Any] | None = None,
        latent: int = 40,
        context: int = 64,
        hidden: list[int] = [300, 300],  # noqa: B006  (a plain list, so that the command line shows it; never changed)
        activation: str = "relu",
        objective: str = "elbo",
        samples: int = 1,
        beta: float = 1.0,
        beta_schedule: str = "constant",
        warmup_epochs: int = 0,
        free_bits: float = 0.0,
        val_samples: int = 0,
        test_samples: int = 1000,
        optimizer: str = "adam",
        lr: float = 1e-3,
        schedule: str = "constant",
        milestones: list[int] = [],  # noqa: B006
        compile: bool = False,
        pixels: int = 784,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self._check_hyperparameters()
        posterior_flow = make_flow(flow, latent, context, depth, **(flow_options or {}))
        self.model = VAE(
            Posterior(pixels, posterior_flow, hidden, activation),
            BernoulliDecoder(latent, pixels, hidden[::-1], activation),
            StandardNormal(latent),
        )
        self.beta: Tensor
        self.register_buffer("beta", torch.tensor(beta), persistent=False)
        self.step_function: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = self.loss_and_terms
        self.epoch_terms: list[Tensor] = []
        self.images_evaluated = 0
        self.epoch_start = time.perf_counter()

    def forward(self, x: Tensor, samples: int = 1) -> LogTerms:
        """Evaluate the model's log-densities: see `VAE.forward`."""
        terms: LogTerms = self.model(x, samples)
        return terms

    def loss_and_terms(self, x: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss, a scalar in nats per image, and the means of the four `LogTerms`, then of the objective."""
        terms = self.model(x, self.hparams["samples"])
        if self.hparams["objective"] == "iwae":
            objective = objectives.iwae(terms)
        else:
            objective = objectives.elbo(terms, beta, self.hparams["free_bits"])
        return -objective, torch.cat([torch.stack(terms).mean((1, 2)), objective[None]]).detach()

    def latest_elbo(self) -> float:
        """The ELBO of the last training batch, in nats per image; asking waits for the device."""
        return float(LogTerms(*self.epoch_terms[-1][:-1]).log_weight)

    # Lightning's hooks, in the order in which a run meets them

    def configure_callbacks(self) -> list[pl.Callback]:
        """Add what makes a resumed run equal to one that was never interrupted."""
        return [ReproducibleEpochs()]

    def setup(self, stage: str) -> None:
        """Check the data's size, and start the decoder's output bias from the training pixel means."""
        data: Any = getattr(self.trainer, "datamodule", None)
        pixels = getattr(data, "pixels", self.hparams["pixels"])
        if pixels != self.hparams["pixels"]:
            raise ValueError(f"the model expects images of {self.hparams['pixels']} pixels; the data have {pixels}")
        if stage == "fit" and hasattr(data, "pixel_means"):
            self.model.decoder.start_from(data.pixel_means)
        if stage == "fit" and self.hparams["compile"]:
            self.step_function = torch.compile(self.loss_and_terms)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another architecture, saying what differs."""
        saved = checkpoint["hyper_parameters"]
        differences = [
            f"{name} {saved.get(name)!r} where the model has {self.hparams[name]!r}"
            for name in _ARCHITECTURE
            if saved.get(name) != self.hparams[name]
        ]
        if differences:
            raise ValueError(f"the checkpoint has {', '.join(differences)}")

    def configure_optimizers(self) -> Any:
        """Return Adam (fused where there is such a kernel) or Adamax, with the schedule."""
        if self.hparams["optimizer"] == "adam":
            fused = self.device.type in ("cpu", "cuda")
            optimizer: torch.optim.Optimizer = torch.optim.Adam(self.parameters(), self.hparams["lr"], fused=fused)
        else:
            optimizer = torch.optim.Adamax(self.parameters(), self.hparams["lr"])
        if self.hparams["schedule"] == "cosine":
            steps = self.trainer.estimated_stepping_batches
            cosine = LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * min(1.0, step / steps))) / 2)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}
        if self.hparams["schedule"] == "multistep":
            return [optimizer], [MultiStepLR(optimizer, self.hparams["milestones"])]
        return optimizer

    def on_train_epoch_start(self) -> None:
        """Forget the last epoch's terms."""
        self.epoch_terms.clear()
        self.epoch_start = time.perf_counter()

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Return the loss, in nats per image.

        Raises:
            FloatingPointError: if the loss is not finite. On a GPU, where looking costs a synchronisation, only every
                `log_every_n_steps` steps and before a checkpoint is written.
        """
        if self.hparams["beta_schedule"] != "constant":
            self.beta.fill_(self._beta_now(batch_idx))
        loss, terms = self.step_function(batch, self.beta)
        self.epoch_terms.append(terms)
        log_now = (self.global_step + 1) % getattr(self.trainer, "log_every_n_steps", 50) == 0
        if (log_now or self.device.type == "cpu") and not math.isfinite(loss.item()):
            raise _not_finite(terms, f"step {self.global_step} of training")
        if log_now:
            self._write({"train/elbo_step": self.latest_elbo()}, self.global_step + 1)
        return loss

    def on_train_epoch_end(self) -> None:
        """Log the epoch's means and those of its validation as one row, before a checkpoint is written."""
        if not self.epoch_terms:  # resumed from a checkpoint of the epoch's very last step
            return
        terms: Tensor = self.trainer.strategy.reduce(torch.stack(self.epoch_terms).mean(0), reduce_op="mean")
        if not terms.isfinite().all():
            raise _not_finite(terms, f"epoch {self.current_epoch} of training")
        metrics = self._metrics("train", terms) | {"train/beta": self.beta}
        self.log_dict(metrics, logger=False, sync_dist=True)
        validation = {key: value for key, value in self.trainer.callback_metrics.items() if key.startswith("val/")}
        seconds = {"seconds": time.perf_counter() - self.epoch_start}
        self._write(seconds | {key: float(value) for key, value in (metrics | validation).items()}, self.global_step)

    def on_validation_epoch_start(self) -> None:
        """Count the images from the first one again."""
        self.images_evaluated = 0

    def on_test_epoch_start(self) -> None:
        """Count the images from the first one again."""
        self.images_evaluated = 0

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """Log the means over the validation set."""
        self._evaluation_step("val", batch)

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        """Log the means over the test set."""
        self._evaluation_step("test", batch)

    def predict_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Return one draw of z_K for each image, with shape (B, D)."""
        draw: Tensor = self.model.posterior(batch).rsample()
        return draw

    def _write(self, metrics: dict[str, float], steps: int) -> None:
        """Log a row after so many steps are done, and have it on disk at once."""
        for logger in self.loggers:
            logger.log_metrics({"epoch": self.current_epoch, **metrics}, steps)
            logger.save()

    def _evaluation_step(self, split: str, batch: Tensor) -> None:
        _, terms = self.loss_and_terms(batch, self.beta)
        if not terms.isfinite().all():
            raise _not_finite(terms, f"the {split} set after step {self.global_step}")
        metrics = self._metrics(split, terms)
        if samples := self.hparams[f"{split}_samples"]:
            metrics[f"{split}/nll"] = self._nll(batch, samples)
        alone = self.trainer.state.fn != "fit"  # in a fit they join the epoch's row
        self.log_dict(metrics, batch_size=len(batch), sync_dist=True, logger=alone, prog_bar=True)

    def _nll(self, batch: Tensor, samples: int) -> Tensor:
        """Estimate the batch's NLL, in nats per image, with the noise that `nfvae evaluate` gives each image."""
        place = torch.arange(self.images_evaluated, self.images_evaluated + len(batch))
        self.images_evaluated += len(batch)
        indices = place * self.trainer.world_size + self.trainer.global_rank
        return -log_likelihood(self.model, batch, samples, indices=indices).log_likelihood.mean()

    def _metrics(self, split: str, terms: Tensor) -> dict[str, Tensor]:
        means = LogTerms(*terms[:-1])
        metrics = {
            "elbo": means.log_weight,
            "reconstruction": means.likelihood,
            "kl": means.kl,
            "log_det": means.log_det,
        }
        if self.hparams["objective"] == "iwae":
            metrics["iwae"] = terms[-1]
        return {f"{split}/{name}": value for name, value in metrics.items()}

    def _beta_now(self, batch_idx: int) -> float:
        schedule, warmup, beta = (self.hparams[name] for name in ("beta_schedule", "warmup_epochs", "beta"))
        epoch = self.current_epoch + batch_idx / self.trainer.num_training_batches
        return objectives.beta_at(schedule, self.global_step, epoch, warmup, beta)

    def _check_hyperparameters(self) -> None:
        for name, known in _CHOICES.items():
            if self.hparams[name] not in known:
                raise ValueError(f"unknown {name} {self.hparams[name]!r}; known: {', '.join(known)}")
        for name, least in (("latent", 1), ("samples", 1), ("pixels", 1), ("val_samples", 0), ("test_samples", 0)):
            if self.hparams[name] < least:
                raise ValueError(f"{name} must be at least {least}; got {self.hparams[name]}")
        weighted = self.hparams["beta"] != 1 or self.hparams["free_bits"] or self.hparams["beta_schedule"] != "constant"
        if self.hparams["objective"] == "iwae" and weighted:
            raise ValueError("beta, beta_schedule and free_bits weigh the KL of the elbo; objective iwae has none")
        if self.hparams["beta_schedule"] == "linear" and self.hparams["warmup_epochs"] < 1:
            raise ValueError(f"beta_schedule linear needs warmup_epochs >= 1; got {self.hparams['warmup_epochs']}")
        if self.hparams["schedule"] == "multistep" and not self.hparams["milestones"]:
            raise ValueError("schedule multistep needs milestones, as [20, 40]")


def _not_finite(terms: Tensor, where: str) -> FloatingPointError:
    finite = terms.isfinite().tolist()
    names = [name for name, ok in zip(LogTerms._fields, finite, strict=False) if not ok]
    return FloatingPointError(f"loss is not finite in {where}; terms not finite: {', '.join(names) or 'none'}")
