"""The input of an encoder: data made ready for a network."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from nfvae.models.likelihoods import DataSpec, Statistics
from nfvae.networks import Linear, Scaling


class Inputs(nn.Module):
    """Turn rows of data into the input of an encoder.

    Real numbers are standardized. Missing values become the mean, or 0 for data with levels. Conditions are appended:
    to a vector as they are, to an image as one more channel that is linear in them.

    Args:
        spec: form of the data.
        conditioned: whether the encoder sees the conditions.
        as_images: whether the encoder needs images, as convolutions do.

    Attributes:
        shape: shape of the encoder's input.

    References:
        MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets (missing values), arXiv 1812.02633.
    """

    def __init__(self, spec: DataSpec, conditioned: bool = False, as_images: bool = False) -> None:
        super().__init__()
        self.spec, appended = spec, spec.conditions if conditioned else 0
        self.scaling = Scaling(spec.size) if spec.levels is None else None
        self.appends, self.plane, self.shape = bool(appended), None, spec.shape
        if appended and as_images and len(spec.shape) > 1:
            channels, (height, width) = spec.shape[:-2], spec.shape[-2:]
            self.plane = Linear(appended, height * width)
            self.shape = (1 + (channels[0] if channels else 1), height, width)
        elif appended:
            self.shape = (spec.width,)

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Return the input with shape (B, ...) for rows with shape (B, P + C)."""
        condition = x[..., self.spec.size :]
        values = x[..., : self.spec.size] if self.spec.conditions else x
        if self.scaling is not None:
            values = self.scaling(values)
        if self.spec.missing:
            values = torch.where(values.isnan(), 0, values)
        if not self.appends:
            return values
        return torch.cat([values, condition if self.plane is None else self.plane(condition)], -1)

    def init_from(self, statistics: Statistics) -> None:
        """Standardize by statistics of the training data."""
        if self.scaling is not None:
            self.scaling.init_from(*statistics)
