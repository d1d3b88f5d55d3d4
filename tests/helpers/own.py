"""Classes that a user might bring: one for each role."""

from typing import ClassVar

import torch
from torch import nn
from torch.distributions import Independent, Laplace

from nfvae.data import ImageDataset, Splits, Toy
from nfvae.estimators import Objective
from nfvae.flows import Bijection, DiagonalNormal, ParametricFlow
from nfvae.flows.planar import Planar, PlanarFlow
from nfvae.flows.univariate import Univariate
from nfvae.models import Decoder, Encoder, Encoding, Prior


class Stretch(Bijection):
    def __init__(self, log_scale):
        super().__init__(log_scale.shape)
        self.log_scale = log_scale

    def _forward_and_log_det(self, z):
        return z * self.log_scale.exp(), self.log_scale.sum(-1).expand(z.shape[:-1])

    def _inverse_and_log_det(self, y):
        return y * (-self.log_scale).exp(), -self.log_scale.sum(-1).expand(y.shape[:-1])


class Estimated(Planar):
    exact = False


class EstimatedFlow(PlanarFlow):
    """A flow that says that its log-determinant is an estimate."""

    bijection, exact = Estimated, False


class StretchFlow(ParametricFlow):
    """A flow."""

    bijection = Stretch

    @staticmethod
    def shapes(features):
        return {"log_scale": (features,)}


class Shift(Univariate):
    """A univariate map."""

    def __init__(self, shift):
        self.shift = shift

    @staticmethod
    def shapes():
        return {"shift": ()}

    def forward_and_log_slope(self, z):
        return z + self.shift, torch.zeros_like(z)

    def inverse_and_log_slope(self, y):
        return y - self.shift, torch.zeros_like(y)


class LinearEncoder(Encoder):
    """An encoder with an option of its own."""

    def __init__(self, shape, latent, context, gain=1.0):
        super().__init__()
        self.sizes, self.gain = (latent, latent, context), gain
        self.layer = nn.Linear(shape[0] * shape[1], sum(self.sizes))

    def forward(self, x):
        return Encoding(*(self.gain * self.layer(x)).split(self.sizes, -1))


class LinearDecoder(Decoder):
    """A decoder without an output bias to start from."""

    def __init__(self, latent, shape, outputs):
        super().__init__()
        self.layer = nn.Linear(latent, shape[0] * shape[1])

    def forward(self, z):
        return self.layer(z)[..., None, :]


class LaplaceDecoder(LinearDecoder):
    """A decoder that gives p(x|z) itself: real numbers, with heavy tails."""

    def forward(self, z):
        return Independent(Laplace(self.layer(z), 0.5), 1)


class WidePrior(Prior):
    """A prior with a parameter and an option."""

    def __init__(self, latent, spec, scale=2.0):
        super().__init__()
        self.loc, self.scale = nn.Parameter(torch.zeros(latent)), scale

    def forward(self):
        return DiagonalNormal(self.loc, torch.full_like(self.loc, self.scale))


class Reconstruction(Objective):
    """An objective that looks at the likelihood alone."""

    def forward(self, terms):
        return terms.likelihood.mean()


class Stripes(ImageDataset):
    """A data set that is neither square nor on disk, with an option."""

    shape: ClassVar = (4, 6)

    def __init__(self, count=60):
        self.count = count

    def read(self, root, download):
        images = (255 * (torch.arange(24) % 2)).to(torch.uint8).expand(self.count, 24)
        return Splits(images, images[:20], images[:20])


class Line(Toy):
    """A toy density."""

    features = 1

    def draw(self, count, generator):
        return torch.randn(count, 1, generator=generator)
