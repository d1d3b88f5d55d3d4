"""Training by the evidence lower bound, as a LightningModule."""

from typing import Any

import torch
from torch import Tensor

from nfvae import objectives
from nfvae.decoder import BernoulliDecoder
from nfvae.flows import make_flow
from nfvae.importance import log_likelihood
from nfvae.learner import Learner
from nfvae.posterior import Posterior
from nfvae.prior import StandardNormal
from nfvae.vae import VAE, LogTerms


class FlowVAE(Learner):
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
        hidden: widths of the encoder's layers.
        decoder_hidden: widths of the decoder's layers; by default those of the encoder in reverse.
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

    size = "pixels"
    architecture = (
        *("flow", "depth", "flow_options", "latent", "context", "hidden", "decoder_hidden", "activation", "pixels"),
    )
    judged_by = ("elbo", "max")

    def __init__(
        self,
        flow: str = "iaf",
        depth: int = 4,
        flow_options: dict[str, Any] | None = None,
        latent: int = 40,
        context: int = 64,
        hidden: list[int] = [300, 300],  # noqa: B006  (a plain list, so that the command line shows it; never changed)
        decoder_hidden: list[int] | None = None,
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
            BernoulliDecoder(latent, pixels, decoder_hidden or hidden[::-1], activation),
            StandardNormal(latent),
        )
        self.beta: Tensor
        self.register_buffer("beta", torch.tensor(beta), persistent=False)
        self.images_evaluated = 0

    def forward(self, x: Tensor, samples: int = 1) -> LogTerms:
        """Evaluate the model's log-densities: see `VAE.forward`."""
        terms: LogTerms = self.model(x, samples)
        return terms

    def loss_and_metrics(self, batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the negative objective, and its parts."""
        objective, metrics = self.objective_and_metrics(batch)
        return -objective, metrics | {"beta": self.beta.clone()}

    def objective_and_metrics(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the bound that is maximised, a scalar in nats per image, and the means of its parts."""
        terms = self.model(x, self.hparams["samples"])
        means = LogTerms(*torch.stack(terms).detach().mean((1, 2)))
        metrics = {
            "elbo": means.log_weight,
            "reconstruction": means.likelihood,
            "kl": means.kl,
            "log_det": means.log_det,
        }
        if self.hparams["objective"] == "iwae":
            bound = objectives.iwae(terms)
            return bound, metrics | {"iwae": bound.detach()}
        return objectives.elbo(terms, self.beta, self.hparams["free_bits"]), metrics

    def evaluation_metrics(self, split: str, batch: Tensor) -> dict[str, Tensor]:
        """Return the ELBO and its parts, and the NLL where there are samples for it."""
        metrics = self.objective_and_metrics(batch)[1]
        if samples := self.hparams[f"{split}_samples"]:
            metrics["nll"] = self._nll(batch, samples)
        return metrics

    def _nll(self, batch: Tensor, samples: int) -> Tensor:
        """Estimate the batch's NLL, in nats per image, with the noise that `nfvae evaluate` gives each image."""
        place = torch.arange(self.images_evaluated, self.images_evaluated + len(batch))
        self.images_evaluated += len(batch)
        indices = place * self.trainer.world_size + self.trainer.global_rank
        return -log_likelihood(self.model, batch, samples, indices=indices).log_likelihood.mean()

    # Lightning's hooks, in the order in which a run meets them

    def setup(self, stage: str) -> None:
        """Start the decoder's output bias from the training pixel means."""
        super().setup(stage)
        data: Any = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and hasattr(data, "pixel_means"):
            self.model.decoder.start_from(data.pixel_means)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Set the KL's weight, then take the step."""
        if self.hparams["beta_schedule"] != "constant":
            self.beta.fill_(self._beta_now(batch_idx))
        return super().training_step(batch, batch_idx)

    def on_validation_epoch_start(self) -> None:
        """Count the images from the first one again."""
        self.images_evaluated = 0

    def on_test_epoch_start(self) -> None:
        """Count the images from the first one again."""
        self.images_evaluated = 0

    def predict_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Return one draw of z_K for each image, with shape (B, D)."""
        draw: Tensor = self.model.posterior(batch).rsample()
        return draw

    def _beta_now(self, batch_idx: int) -> float:
        schedule, warmup, beta = (self.hparams[name] for name in ("beta_schedule", "warmup_epochs", "beta"))
        return objectives.beta_at(schedule, self.global_step, self.epochs_done(batch_idx), warmup, beta)

    def _check_hyperparameters(self) -> None:
        self.check_choices(objective=("elbo", "iwae"), beta_schedule=("constant", "linear", "rezende"))
        for name, least in (("latent", 1), ("samples", 1), ("pixels", 1), ("val_samples", 0), ("test_samples", 0)):
            if self.hparams[name] < least:
                raise ValueError(f"{name} must be at least {least}; got {self.hparams[name]}")
        weighted = self.hparams["beta"] != 1 or self.hparams["free_bits"] or self.hparams["beta_schedule"] != "constant"
        if self.hparams["objective"] == "iwae" and weighted:
            raise ValueError("beta, beta_schedule and free_bits weigh the KL of the elbo; objective iwae has none")
        if self.hparams["beta_schedule"] == "linear" and self.hparams["warmup_epochs"] < 1:
            raise ValueError(f"beta_schedule linear needs warmup_epochs >= 1; got {self.hparams['warmup_epochs']}")
