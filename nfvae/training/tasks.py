"""The tasks that `nfvae fit` can train, by the name that a config gives as `task`."""

from nfvae.registry import Registry
from nfvae.training.module import TrainingModule

TASKS = Registry(
    "task",
    TrainingModule,  # type: ignore[type-abstract]
    {
        "vae": "nfvae.training.vae:FlowVAE",
        "distill": "nfvae.training.distillation:PosteriorDistillation",
        "density": "nfvae.training.density:DensityEstimation",
        "energy": "nfvae.training.energy:EnergyEstimation",
        "distill_density": "nfvae.training.density:DensityDistillation",
    },
)
