"""The radial flow."""

import torch

from nfvae.flows.radial import Radial

HARD = 10_000


def test_radial_is_monotone_along_every_ray():
    center, reach, far = (torch.randn(HARD, *rest, dtype=torch.float64) for rest in ((3,), (), ()))
    radial = Radial.from_unconstrained(center=center, alpha=20 * reach, alpha_beta=20 * far)
    assert (radial.alpha > 0).all()
    assert (radial.alpha_beta > 0).all()
    ray = torch.nn.functional.normalize(torch.randn(HARD, 3, dtype=torch.float64), dim=-1)
    radii = torch.logspace(-6, 4, 200, dtype=torch.float64)[:, None, None]
    reached = ((radial(center + radii * ray) - center) * ray).sum(-1)
    assert (reached.diff(dim=0) > 0).all()
