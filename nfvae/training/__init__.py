"""Training with pytorch-lightning: by the evidence lower bound, maximum likelihood, or distillation."""

from nfvae.training.callbacks import StopAfterWarmUp
from nfvae.training.density import DensityDistillation, DensityEstimation
from nfvae.training.distillation import PosteriorDistillation
from nfvae.training.energy import EnergyEstimation
from nfvae.training.module import TrainingModule
from nfvae.training.tasks import TASKS
from nfvae.training.teacher import Teacher
from nfvae.training.vae import FlowVAE

__all__ = [
    "TASKS",
    "DensityDistillation",
    "DensityEstimation",
    "EnergyEstimation",
    "FlowVAE",
    "PosteriorDistillation",
    "StopAfterWarmUp",
    "Teacher",
    "TrainingModule",
]
