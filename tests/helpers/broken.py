"""Classes that a user might bring by mistake: each breaks what its role promises in one way."""

import torch
from torch import nn

from nfvae.data import ImageDataset, Splits, Toy
from nfvae.estimators import Objective
from nfvae.flows import Bijection, DiagonalNormal, Flow
from nfvae.flows.actnorm import ScaleShift
from nfvae.flows.planar import PlanarFlow
from nfvae.models import BernoulliPixels, Decoder, Encoder, Encoding, Prior
from tests.helpers.own import Estimated


class Halved(Bijection):
    """Its inverse is none."""

    def _forward_and_log_det(self, z):
        return z / 2, z.new_zeros(z.shape[:-1])

    def _inverse_and_log_det(self, y):
        return y, y.new_zeros(y.shape[:-1])


class Gives(Flow):
    """A flow that gives one bijection, whatever the context."""

    def given(self, h):
        return {}

    def build(self, given):
        return self.bijection((self.features,))


class NotUndone(Gives):
    bijection = Halved


class WrongLogDet(Halved):
    def _forward_and_log_det(self, z):
        return z, torch.zeros_like(z)


class WrongLogDetFlow(Gives):
    bijection = WrongLogDet


class Narrow(Halved):
    def _forward_and_log_det(self, z):
        return z[..., :1], z.new_zeros(z.shape[:-1])


class NarrowFlow(Gives):
    bijection = Narrow


class WrongJacobian(Halved):
    def _inverse_and_log_det(self, y):
        return 2 * y, y.new_zeros(y.shape[:-1])


class WrongJacobianFlow(Gives):
    bijection = WrongJacobian


class Uncancelled(WrongJacobian):
    def _inverse_and_log_det(self, y):
        return 2 * y, y.new_ones(y.shape[:-1])


class UncancelledFlow(Gives):
    bijection = Uncancelled


class Mixes(Halved):
    def _forward_and_log_det(self, z):
        return z + z.flatten(0, -2).mean(0), z.new_zeros(z.shape[:-1])

    def _inverse_and_log_det(self, y):
        return y - y.flatten(0, -2).mean(0) / 2, y.new_zeros(y.shape[:-1])


class MixesFlow(Gives):
    bijection = Mixes


class OnlyPoints(Halved):
    def _forward_and_log_det(self, z):
        return z


class OnlyPointsFlow(Gives):
    bijection = OnlyPoints


class Endless(Halved):
    def _forward_and_log_det(self, z):
        return z / 0, z.new_zeros(z.shape[:-1])


class EndlessFlow(Gives):
    bijection = Endless


class Coarse(Halved):
    def _forward_and_log_det(self, z):
        return z.half(), z.new_zeros(z.shape[:-1])


class CoarseFlow(Gives):
    bijection = Coarse


class GivesGiven(Flow):
    """A flow whose `given` is wrong in one way."""

    def given(self, h):
        return {"shift": h[:, :1]}

    def build(self, given):
        shift = given["shift"].expand(-1, self.features)
        return ScaleShift(torch.zeros_like(shift), shift)


class OneForAll(GivesGiven):
    def given(self, h):
        return {"shift": h[:1, :1]}


class OfTheBatch(GivesGiven):
    def given(self, h):
        return {name: value - h.mean() for name, value in super().given(h).items()}


class WholeNumbers(GivesGiven):
    def given(self, h):
        return super().given(h) | {"mask": torch.ones(len(h), dtype=torch.long)}


class ListGiven(GivesGiven):
    def given(self, h):
        return [h]

    def build(self, given):
        return super().build({"shift": given[0][:, :1]})


class SeesMore(GivesGiven):
    def given(self, h):
        self.h = h
        return super().given(h)

    def build(self, given):
        return super().build({"shift": self.h[:, :1].mean(0, keepdim=True).expand_as(given["shift"]) + given["shift"]})


class OwnForward(GivesGiven):
    def forward(self, h=None):
        return super().forward(h)


class SaysExact(PlanarFlow):
    bijection = Estimated


class NotYet(Gives):
    def build(self, given):
        raise NotImplementedError


class Leaves(Gives):
    bijection = Halved

    def __init__(self, features, context, depth):
        raise SystemExit(5)


class NoBijection(Gives):
    def build(self, given):
        return None


class OtherArguments(Gives):
    bijection = Halved

    def __init__(self, width):
        super().__init__(width)


class WideEncoder(Encoder):
    def __init__(self, shape, latent, context):
        super().__init__()
        self.layer = nn.Linear(shape[0] * shape[1], 1 + latent)

    def forward(self, x):
        return Encoding(self.layer(x), self.layer(x), self.layer(x))


class TwoThings(WideEncoder):
    def forward(self, x):
        return self.layer(x), self.layer(x)


class FewPixels(Decoder):
    def __init__(self, latent, shape, outputs):
        super().__init__()
        self.layer = nn.Linear(latent, 3)

    def forward(self, z):
        return self.layer(z)[..., None, :]


class GivesDistribution(FewPixels):
    def forward(self, z):
        return BernoulliPixels(self.layer(z))


class NoPrior(Prior):
    def __init__(self, latent, spec):
        super().__init__()

    def forward(self):
        return DiagonalNormal(torch.zeros(1 + 1), torch.ones(7))


class ManyLosses(Objective):
    def forward(self, terms):
        return terms.likelihood


class FloatImages(ImageDataset):
    shape = (4, 6)

    def read(self, root, download):
        return Splits(*[torch.rand(10, 24)] * 3)


class NoImages(FloatImages):
    def read(self, root, download):
        return Splits(*[torch.zeros(0, 24, dtype=torch.uint8)] * 3)


class TwoSplits(FloatImages):
    def read(self, root, download):
        return [torch.zeros(9, 24, dtype=torch.uint8)] * 2


class Fails(FloatImages):
    def read(self, root, download):
        return {}["missing"]


class Scalars(Toy):
    def draw(self, count, generator):
        return torch.zeros(count)


class Infinite(Toy):
    def draw(self, count, generator):
        return torch.full((count, 2), torch.inf)
