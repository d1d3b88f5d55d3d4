"""Steps are compiled where that pays, and nothing else changes."""

import pytest
import torch

from nfvae.training import compiling
from nfvae.training import preparation as module_under_test
from tests.helpers.training import digits, module, trainer


@pytest.fixture
def timed(monkeypatch):
    """Seconds of an eager and of a compiled step, as a test says; no step is really compiled."""
    seconds, calls = {"eager": 1.0, "compiled": 0.5}, []

    def compile(step, device):
        calls.append(step)
        return lambda batch: step(batch)

    def measure(fitted, step, batch):
        run(fitted, step, batch)  # what it changes must not matter
        return seconds["eager" if step == fitted.loss_and_metrics else "compiled"]

    run = compiling._seconds
    monkeypatch.setattr(compiling, "_SHORT", 1.0)
    monkeypatch.setattr(compiling, "compiled", compile)
    monkeypatch.setattr(compiling, "_seconds", measure)
    return seconds, calls


def train(folder, **settings):
    torch.manual_seed(3)
    fitted, run = module(**settings), trainer(folder)
    run.fit(fitted, digits())
    return fitted, run


def weights(fitted):
    return list(fitted.state_dict().values())


@pytest.mark.parametrize(
    ("quick", "said"),
    [
        (0.5, "1000.0 ms, and 500.0 ms compiled; steps are compiled"),
        (0.99, "and 990.0 ms compiled; steps are not compiled"),
    ],
)
def test_the_quicker_step_is_taken_and_the_training_stays_the_same(quick, said, timed, tmp_path, capsys):
    seconds, calls = timed
    seconds["compiled"] = quick
    settings = {"flow": "actnorm", "flow_options": {"start": "data"}, "gradient": "reinforce"}
    expected = weights(train(tmp_path / "plain", **settings)[0])
    found = weights(train(tmp_path / "auto", compile="auto", **settings)[0])
    assert said in capsys.readouterr().out
    assert len(calls) == 1
    assert all(map(torch.equal, found, expected))


def test_a_short_training_is_not_compiled(timed, tmp_path, capsys):
    timed[0]["eager"] = 0.001
    train(tmp_path, compile="auto")
    assert "compile auto: the training takes less than 1.0 s; steps are not compiled" in capsys.readouterr().out
    assert not timed[1]


def test_what_cannot_be_compiled_is_not(timed, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(compiling, "compiled", lambda step, device: lambda batch: 1 / 0)
    train(tmp_path, compile="auto")
    assert "a step cannot be compiled (division by zero); steps are not compiled" in capsys.readouterr().out


def test_a_resumed_run_keeps_to_what_was_chosen(timed, tmp_path, capsys):
    _, run = train(tmp_path, compile="auto")
    path = run.checkpoint_callback.best_model_path
    timed[0]["compiled"] = 2.0
    timed[1].clear()
    again = trainer(tmp_path, epochs=3)
    again.fit(module(compile="auto"), digits(), ckpt_path=path, weights_only=True)
    assert len(timed[1]) == 1
    assert capsys.readouterr().out.count("compile auto") == 1


def test_on_a_gpu_metrics_are_kept_from_the_next_step(monkeypatch):
    buffer = torch.zeros(())
    monkeypatch.setattr(torch, "compile", lambda step, mode: step)

    def step(batch):
        return batch.sum(), {"elbo": buffer.fill_(batch.sum())}

    captured = compiling.compiled(step, torch.device("cuda"))
    first, _ = captured(torch.ones(3))[1], captured(torch.zeros(3))
    assert first["elbo"] == 3


def test_a_step_that_cannot_be_compiled_is_one_line_on_the_command_line(fit, monkeypatch):
    class InductorError(RuntimeError):
        pass

    def fail(batch):
        raise InductorError("no compiler\nand a hundred lines more")

    InductorError.__module__ = "torch._inductor.exc"
    monkeypatch.setattr(module_under_test, "compiled", lambda step, device: fail)
    code, _, error = fit("--model.compile", "true")
    assert code == 2
    assert error.endswith("nfvae: error: model.compile fails here, without it the training runs: no compiler\n")
