"""The quick Adam is Adam."""

import copy

import pytest
import torch
from torch import nn

from nfvae.training.optimizers import FusedAdam


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def train(optimizer, learner, steps):
    for step in range(steps):
        x = torch.randn(8, 6, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        optimizer.step(lambda x=x: [loss := learner(x).square().mean(), loss.backward()][0])
    return list(learner.parameters())


@pytest.mark.parametrize(
    "options",
    [{"fused": True}, {"fused": True, "weight_decay": 0.1, "betas": (0.5, 0.9), "maximize": True, "eps": 1e-3}, {},
     {"fused": True, "amsgrad": True}, {"foreach": True}],
    ids=str,
)  # fmt: skip
def test_steps_are_those_of_pytorch(options):
    found, expected = (train(kind(m.parameters(), 0.01, **options), m, 5)
                       for kind, m in ((FusedAdam, model()), (torch.optim.Adam, model())))  # fmt: skip
    assert all(map(torch.equal, found, expected))
    assert not torch.equal(found[0], next(model().parameters()))


def test_groups_have_their_own_rates_and_what_has_no_gradient_stays():
    results = []
    for kind in (FusedAdam, torch.optim.Adam):
        learner = model()
        learner[2].bias.requires_grad_(False)
        groups = [{"params": learner[0].parameters(), "lr": 0.1}, {"params": learner[2].parameters()}]
        results.append(train(kind(groups, 0.01, fused=True), learner, 4))
    assert all(map(torch.equal, *results))
    assert torch.equal(results[0][-1], model()[2].bias)


def test_the_state_is_that_of_pytorch_and_goes_on():
    learner, theirs = model(), model()
    optimizer = FusedAdam(learner.parameters(), 0.01, fused=True)
    train(optimizer, learner, 3)
    theirs.load_state_dict(learner.state_dict())
    resumed = torch.optim.Adam(theirs.parameters(), 0.01, fused=True)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert all(map(torch.equal, train(optimizer, learner, 3), train(resumed, theirs, 3)))
    assert {int(state["step"]) for state in optimizer.state.values()} == {6}


@pytest.mark.parametrize("amsgrad", [False, True])
def test_a_hook_is_called_once_a_step(amsgrad):
    learner, calls = model(), []
    torch.optim.Adam(model().parameters())  # whose step has hooks around it from then on
    optimizer = FusedAdam(learner.parameters(), 0.01, fused=True, amsgrad=amsgrad)
    optimizer.register_step_post_hook(lambda *_: calls.append("hook"))
    train(optimizer, learner, 3)
    assert len(calls) == 3
