"""Distillation of a trained posterior into a student that is cheap to sample, by the reverse KL."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from typing_extensions import override

from nfvae.estimators import KL_GRADIENTS, reverse_kl
from nfvae.models import PRIORS
from nfvae.models.posterior import POSTERIOR
from nfvae.registry import check_choice
from nfvae.training.teacher import Teacher
from nfvae.training.vae import FlowVAE

TARGETS = ("posterior", "joint")


class PosteriorDistillation(FlowVAE):
    """Distill a trained posterior into a student, by the reverse KL on the student's own samples.

    Sampling z ~ q(z|x) also gives the student's density, so the student is never inverted; the teacher evaluates the
    density of z. The loss, in nats per image:

    - target `posterior`: KL(q(z|x) || q_teacher(z|x)), logged and monitored as `reverse_kl`. The teacher's density
      uses the exact inverse of its flow.
    - target `joint`: KL(q(z|x) || p_teacher(z|x)) up to log p(x). This is the negative ELBO of the student under the
      teacher's decoder and prior, logged and monitored as `elbo`, with its parts.

    The model is the student's posterior with the teacher's decoder and prior, which are frozen. A checkpoint holds
    all of them, so loading it needs no teacher.

    Args:
        teacher: folder of the teacher's run, or a checkpoint of a VAE; read only for training.
        target: target density: `posterior`, with gradient `plain` or `path`, or `joint`.
        samples: K, number of student samples per image and step.
        training: arguments of `FlowVAE`. The settings that the student shares with its teacher (`latent`, `prior`,
            `decoder`, `likelihood`, their options, `shape`, `levels`) are taken from the teacher, unless a checkpoint
            has them. A learning rate of 1e-2 can lead to a state from which the student never recovers.

    Raises:
        FileNotFoundError: if there is no such teacher.
        ValueError: for a teacher that is not a VAE, an unknown name or option, or a value out of range; before
            training, for data whose shape or data set differs from the teacher's.

    References:
        Parallel WaveNet: Fast High-Fidelity Speech Synthesis, arXiv 1711.10433.
    """

    task = "distill"
    from_teacher = frozenset(
        {"latent", "shape", "levels"}
        | {f"{role}{options}" for role in ("prior", "decoder", "likelihood") for options in ("", "_options")}
    )
    clip = 10.0

    def __init__(self, teacher: str | Path, target: str = "posterior", samples: int = 4, **training: Any) -> None:
        check_choice("target", target, TARGETS)
        loaded = None if self.from_teacher <= training.keys() else Teacher(teacher, "vae")
        if loaded:
            training.update({name: loaded.settings.get(name) for name in self.from_teacher})
            training["prior_options"] = _prior_options(loaded.settings)
        super().__init__(samples=samples, **training)
        self.by_posterior = target == "posterior"
        if self.by_posterior:
            check_choice("distillation gradient", self.hparams["gradient"], KL_GRADIENTS)
            self.monitor, self.mode = "val/reverse_kl", "min"
        if loaded:
            self.learn_from(loaded)

    @override
    def learn_from(self, teacher: Teacher) -> None:
        """Store the teacher, and copy its decoder, likelihood and prior, which are not trained."""
        super().learn_from(teacher)
        taught = teacher.model
        self.model.decoder.load_state_dict(taught.decoder.state_dict())
        self.model.likelihood.load_state_dict(taught.likelihood.state_dict())
        self.model.prior.load_state_dict(taught.prior.alone())
        for part in (self.model.decoder, self.model.likelihood, self.model.prior):
            part.requires_grad_(False).eval()

    @override
    def loss_and_metrics(self, batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the divergence from the target, in nats per image, and the metrics to log."""
        if not self.by_posterior:
            return super().loss_and_metrics(batch)
        loss = self.divergence(batch)
        return loss, {"reverse_kl": loss.detach()}

    def divergence(self, x: Tensor) -> Tensor:
        """Estimate KL(q(z|x) || q_teacher(z|x)), a scalar in nats per image."""
        assert self.teacher is not None
        target = self.teacher.model.posterior(x)
        path = self.hparams["gradient"] == "path"
        return reverse_kl(self.model.posterior(x), target.log_prob, self.hparams["samples"], path).mean()

    @override
    def evaluation_metrics(self, split: str, batch: Tensor) -> dict[str, Tensor]:
        """Return the student's ELBO under the teacher's decoder; in a fit also its divergence from the teacher."""
        metrics = super().evaluation_metrics(split, batch)
        return metrics | {"reverse_kl": self.divergence(batch)} if self.by_posterior and self.teacher else metrics


def _prior_options(teacher: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the student's prior options: the teacher's, plus its posterior if the prior is built from it."""
    options: dict[str, Any] | None = teacher["prior_options"]
    if PRIORS.load(teacher["prior"]).is_of_posterior and not (options or {}).get("posterior"):
        return {**(options or {}), "posterior": {name: teacher[name] for name in POSTERIOR}}
    return options
