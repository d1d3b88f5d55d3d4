"""Distillation of a trained posterior into a student that is cheap to sample, by the reverse KL."""

from pathlib import Path
from typing import Any

from torch import Tensor

from nfvae.divergences import reverse_kl
from nfvae.runs import check_same_data, load
from nfvae.training import FlowVAE

TARGETS = ("posterior", "joint")


class PosteriorDistillation(FlowVAE):
    """Teach a student posterior by draws of its own (Parallel WaveNet: van den Oord et al., 2018).

    The student draws z ~ q(z|x), so that its own density is free and nothing of it is inverted; a teacher says how
    likely z is. The loss, in nats per image:

    - target `posterior`: KL(q(z|x) || q_teacher(z|x)), logged as `reverse_kl`; the run is judged by it. The teacher's
      density goes through its exact inverse.
    - target `joint`: KL(q(z|x) || p_teacher(z|x)) up to log p(x), which is the negative ELBO of the student under the
      teacher's decoder and prior; it is logged as `elbo` with its parts.

    The model is the student's posterior with the teacher's decoder, which stays as it is. A checkpoint holds both and
    nothing else of the teacher: `FlowVAE.load_from_checkpoint` reads it, and so does every command.

    Args:
        teacher: the folder of the teacher's run, or a checkpoint of a `FlowVAE`.
        target: `posterior` or `joint`.
        flow: as for `FlowVAE`; so are the arguments that follow.
        depth: layers of the student's flow.
        flow_options: further arguments of the flow's class.
        context: C, the size of the student's context h.
        hidden: widths of the student's encoder.
        samples: K, draws of the student an image and step.
        val_samples: importance samples an image for `val/nll`; 0 leaves it out.
        test_samples: importance samples an image for `test/nll`; 0 leaves it out.
        optimizer: `adam` or `adamax`.
        lr: learning rate. At 1e-2 a first step can lead where the student never comes back from.
        schedule: `constant`, `cosine` or `multistep`.
        milestones: epochs at which `multistep` divides the rate by 10.
        compile: whether the training step goes through `torch.compile`.

    Raises:
        FileNotFoundError: if there is no such teacher.
        ValueError: for a teacher that is no `FlowVAE`, an unknown name or a value out of range; before training, for
            data of another size or data set than the teacher's.
    """

    clip = 10.0

    def __init__(
        self,
        teacher: str | Path,
        target: str = "posterior",
        flow: str = "iaf",
        depth: int = 4,
        flow_options: dict[str, Any] | None = None,
        context: int = 64,
        hidden: list[int] = [300, 300],  # noqa: B006  (as in FlowVAE)
        samples: int = 4,
        val_samples: int = 0,
        test_samples: int = 1000,
        optimizer: str = "adam",
        lr: float = 1e-3,
        schedule: str = "constant",
        milestones: list[int] = [],  # noqa: B006
        compile: bool = False,
    ) -> None:
        module = load(FlowVAE, Path(teacher)).requires_grad_(False)
        super().__init__(
            flow=flow,
            depth=depth,
            flow_options=flow_options,
            latent=module.hparams["latent"],
            context=context,
            hidden=hidden,
            decoder_hidden=module.hparams["decoder_hidden"] or module.hparams["hidden"][::-1],
            activation=module.hparams["activation"],
            samples=samples,
            val_samples=val_samples,
            test_samples=test_samples,
            optimizer=optimizer,
            lr=lr,
            schedule=schedule,
            milestones=milestones,
            compile=compile,
            pixels=module.hparams["pixels"],
        )
        self.save_hyperparameters({"teacher": str(teacher), "target": target})
        self.check_choices(target=TARGETS)
        self.model.decoder = module.model.decoder
        self.by_posterior = target == "posterior"
        self.judged_by = ("reverse_kl", "min") if self.by_posterior else ("elbo", "max")
        self._teacher = (module.model.posterior,)

    def loss_and_metrics(self, batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the divergence from the target, in nats per image, and what is logged."""
        if not self.by_posterior:
            return super().loss_and_metrics(batch)
        loss = self.divergence(batch)
        return loss, {"reverse_kl": loss.detach()}

    def divergence(self, x: Tensor) -> Tensor:
        """Estimate KL(q(z|x) || q_teacher(z|x)), a scalar in nats per image."""
        target = self._teacher[0](x)
        return reverse_kl(self.model.posterior(x), target.log_prob, self.hparams["samples"]).mean()

    def evaluation_metrics(self, split: str, batch: Tensor) -> dict[str, Tensor]:
        """Return the student's ELBO under the teacher's decoder, and its divergence from the teacher's posterior."""
        metrics = super().evaluation_metrics(split, batch)
        return metrics | {"reverse_kl": self.divergence(batch)} if self.by_posterior else metrics

    def check_data(self, data: Any) -> None:
        """Refuse data of another size, or of another data set than the teacher's.

        Raises:
            ValueError: for such data.
        """
        super().check_data(data)
        check_same_data(Path(self.hparams["teacher"]), data)
