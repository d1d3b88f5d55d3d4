"""Training by the evidence lower bound, as a LightningModule."""

from collections.abc import Mapping
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor
from typing_extensions import override

from nfvae.estimators import GRADIENTS, Gradient, Objective, check_bound, log_likelihood, make_objective
from nfvae.models import VAE, LogTerms, check_vae, make_vae
from nfvae.models.vae import ARCHITECTURE, DEFAULT_CONDITIONED
from nfvae.registry import check_whole
from nfvae.training.module import TrainingModule
from nfvae.training.recorder import condition_of


class FlowVAE(TrainingModule):
    """Train a VAE whose posterior is a normalizing flow. The plain model is the attribute `model`.

    Logged, in nats per image: `train/…` and `val/…` of `elbo` (always with β = 1), `reconstruction` E log p(x|z), `kl`,
    `log_det` (the flow's mean log-determinant), and the objective's own metrics; `val/nll` and `test/nll`.

    Args:
        flow: name of the flow in `nfvae.flows.FLOWS`, or "package.module:Class" of your own, as for every name here.
        depth: number of layers of the flow.
        flow_options: options of the flow's class, such as `hidden: 320` for iaf.
        context: size C of the encoder's context h for the flow; with 0 the flow is the same for all images.
        encoder: name of the encoder in `nfvae.models.ENCODERS`.
        encoder_options: options of the encoder's class, such as `hidden` and `activation` for mlp.
        latent: number of latent coordinates D.
        prior: name of the prior in `nfvae.models.PRIORS`.
        prior_options: options of the prior's class.
        decoder: name of the decoder in `nfvae.models.DECODERS`.
        decoder_options: options of the decoder's class, such as `hidden` and `activation` for mlp.
        likelihood: name of the likelihood in `nfvae.models.LIKELIHOODS`; `own` if the decoder returns p(x|z) itself.
        likelihood_options: options of the likelihood's class.
        conditioned: parts that see the labels or conditions of the data, if there are any: some of `encoder`, `flow`,
            `prior` and `decoder`.
        objective: name of the objective in `nfvae.estimators.OBJECTIVES`.
        objective_options: options of the objective's class, such as `beta: 0.5` for elbo.
        gradient: name of the gradient estimator in `nfvae.estimators.GRADIENTS`: `plain`, `path`, `dreg` (for iwae), or
            `reinforce` (for comparison).
        samples: number of posterior samples K per image and training step.
        val_samples: number of importance samples per image for `val/nll`; 0 skips it.
        test_samples: number of importance samples per image for `test/nll`; 0 skips it.
        training: arguments of `TrainingModule`.

    Raises:
        ValueError: for an unknown name or option, or a value out of range.
    """

    kind, task = "vae", "vae"
    architecture = ARCHITECTURE
    pictures, mode = ("samples", "reconstructions"), "max"
    model: VAE

    def __init__(
        self,
        flow: str = "iaf",
        depth: int = 4,
        flow_options: dict[str, Any] | None = None,
        context: int = 64,
        encoder: str = "mlp",
        encoder_options: dict[str, Any] | None = None,
        latent: int = 40,
        prior: str = "normal",
        prior_options: dict[str, Any] | None = None,
        decoder: str = "mlp",
        decoder_options: dict[str, Any] | None = None,
        likelihood: str = "bernoulli",
        likelihood_options: dict[str, Any] | None = None,
        conditioned: list[str] = [*DEFAULT_CONDITIONED],  # noqa: B006  (as in TrainingModule)
        objective: str = "elbo",
        objective_options: dict[str, Any] | None = None,
        gradient: str = "plain",
        samples: int = 1,
        val_samples: int = 0,
        test_samples: int = 1000,
        **training: Any,
    ) -> None:
        super().__init__(**training)
        self.objective, self.gradient = _objective_and_gradient(self.hparams)
        self.model = make_vae(**{name: self.hparams[name] for name in ARCHITECTURE})
        self.monitor, self.images_evaluated = f"val/{self.objective.bound}", 0

    @property
    @override
    def is_warming_up(self) -> bool:
        return self.objective.is_warming_up

    @override
    def check_model(self) -> None:
        check_vae(self.model, self.spec, self.objective)
        if self.spec.levels is not None and self.model.likelihood.is_density:
            rank_zero_info(
                f"the likelihood {self.hparams['likelihood']} is a density, and these data have levels: its ELBO can "
                "be above 0, and does not compare with that of a probability such as logistic"
            )

    @override
    def as_batch(self, batch: Any, first: bool) -> Tensor:
        """Return the rows of a batch; the first batch is checked, and resets the count of evaluated images."""
        x, self.images_evaluated = super().as_batch(batch, first), 0 if first else self.images_evaluated
        if (size := self.spec.conditions) and x[:1].numel() == self.spec.size:
            return self.model.as_data(x, condition_of(batch, size))
        return self.model.as_data(x) if first or x.ndim > 2 else x

    @override
    def loss_and_metrics(self, batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        objective, metrics = self.objective_and_metrics(self.gradient(self.model, batch, self.hparams["samples"]))
        return -objective, metrics

    def objective_and_metrics(self, terms: LogTerms) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the objective, a scalar in nats per image, and the means of its parts."""
        means = LogTerms(*torch.stack(terms).detach().mean((1, 2)))
        metrics = {"elbo": means.log_weight, "reconstruction": means.likelihood, "kl": means.kl}
        objective = self.objective(terms)
        return objective, metrics | {"log_det": means.log_det} | self.objective.metrics(objective)

    @override
    def evaluation_metrics(self, split: str, batch: Tensor) -> dict[str, Tensor]:
        metrics = self.objective_and_metrics(self.model(batch, self.hparams["samples"]))[1]
        if not self.model.likelihood.is_density:
            check_bound(f"{split}/elbo", float(metrics["elbo"]))
        if samples := self.hparams[f"{split}_samples"]:
            metrics["nll"] = self._nll(batch, samples)
        return metrics

    @override
    def anneal(self, step: int, epochs: float) -> None:
        self.objective.anneal(step, epochs)

    def _nll(self, batch: Tensor, samples: int) -> Tensor:
        """Estimate the batch's NLL, in nats per image, with the same noise for each image as `nfvae evaluate`."""
        place = torch.arange(self.images_evaluated, self.images_evaluated + len(batch))
        self.images_evaluated += len(batch)
        indices = place * self.trainer.world_size + self.trainer.global_rank
        return -log_likelihood(self.model, batch, samples, indices=indices).log_likelihood.mean()

    @override
    def setup(self, stage: str) -> None:
        super().setup(stage)
        data: Any = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and hasattr(data, "statistics"):
            self.model.init_from(data.statistics)

    @override
    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        z: Tensor = self.model.posterior(self.as_batch(batch, batch_idx == 0)).draw().z
        return z


def _objective_and_gradient(settings: Mapping[str, Any]) -> tuple[Objective, Gradient]:
    """Check the settings, and build the objective and its gradient estimator."""
    for name, least in {"samples": 1, "val_samples": 0, "test_samples": 0}.items():
        check_whole(name, settings[name], least)
    objective = make_objective(settings["objective"], settings["objective_options"])
    gradient = GRADIENTS.make(settings["gradient"])
    gradient.check(objective)
    return objective, gradient
