"""Variance and time of each gradient estimator along a training run, and in the distillation of a density.

python benchmarks/gradients.py [--quick]
"""

import argparse
import statistics
import time
from functools import partial

import torch
from common import parsed, print_machine

from nfvae import DataModule, make_flow, reverse_kl
from nfvae.estimators import GRADIENTS, elbo, iwae
from nfvae.flows import FlowDensity
from nfvae.models import make_vae

BOUNDS = {"elbo": (elbo, ["plain", "path", "reinforce"], 1), "iwae": (iwae, ["plain", "dreg"], 20)}
DRAWS, IMAGES = 40, 100


def gradient_of(value, parameters):
    """One gradient, in one vector."""
    found = torch.autograd.grad(value, parameters, materialize_grads=True)
    return torch.cat([each.flatten() for each in found])


def spread_and_time(step):
    """Total variance of a gradient over draws, and the median seconds of one."""
    gradients, seconds = [], []
    for _ in range(DRAWS):
        start = time.perf_counter()
        gradients.append(step())
        seconds.append(time.perf_counter() - start)
    return torch.stack(gradients).var(0).sum().item(), statistics.median(seconds)


def along_a_training(flow, epochs, lr=2e-3, batch=100):
    """Train on the digits by the plain gradient, and look at all estimators of the encoder's and flow's gradient."""
    torch.manual_seed(0)
    data = DataModule("digits")
    data.setup()
    train = data.rows("train").float()
    options = {"hidden": 64} if flow in ("iaf", "nsf") else {}
    vae = make_vae(flow, 4, options, 32, latent=16, shape=(8, 8))
    optimizer, parameters = torch.optim.Adam(vae.parameters(), lr), list(vae.posterior.parameters())
    done = 0
    for epoch in epochs:
        for _ in range(done, epoch):
            for rows in torch.randperm(len(train)).split(batch):
                optimizer.zero_grad()
                (-elbo(vae(train[rows]))).backward()
                optimizer.step()
        done = epoch
        for bound, (function, names, samples) in BOUNDS.items():
            plain = None
            for name in names:
                step = partial(bound_gradient, GRADIENTS.make(name), function, samples, vae, train[:IMAGES], parameters)
                variance, seconds = found = spread_and_time(step)
                plain = plain or found
                print(
                    f"| {flow} | {epoch} | {bound}, K = {samples} | {name} | {variance:.3g} | "
                    f"{variance / plain[0]:.3g} | {seconds * 1e3:.1f} | {seconds / plain[1]:.2f} |",
                    flush=True,
                )


def bound_gradient(estimate, function, samples, vae, x, parameters):
    """One gradient of a bound."""
    return gradient_of(function(estimate(vae, x, samples)), parameters)


def distilled(path, marks, features=10, samples=100, lr=3e-3):
    """Teach a Gaussian with full covariance by another one; the gradient's variance as the student comes nearer."""
    torch.manual_seed(0)
    teacher, student = (FlowDensity(make_flow("cholesky", features)) for _ in range(2))
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    teacher.requires_grad_(False)
    parameters = list(student.parameters())
    optimizer = torch.optim.Adam(parameters, lr)
    loss = lambda: reverse_kl(student(), teacher().log_prob, samples, path)  # noqa: E731
    for step in range(max(marks) + 1):
        if step in marks:
            variance, _ = spread_and_time(lambda: gradient_of(loss(), parameters))
            with torch.no_grad():
                divergence = reverse_kl(student(), teacher().log_prob, 100_000).item()
            print(f"| {'path' if path else 'plain'} | {step} | {divergence:.2g} | {variance:.2g} |", flush=True)
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()


def main():
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flows", nargs="+", default=["planar", "iaf", "nsf"])
    parser.add_argument("--epochs", nargs="+", type=int, default=[0, 5, 50])
    parser.add_argument("--steps", nargs="+", type=int, default=[0, 300, 1000, 3000])
    options = parsed(parser, flows=["planar"], epochs=[0], steps=[0])
    print_machine()
    print("| flow | epoch | bound | gradient | variance | to plain | ms | to plain |\n" + "|---" * 8 + "|")
    for flow in options.flows:
        along_a_training(flow, options.epochs)
    print("\n| gradient | step | KL, nats | variance |\n" + "|---" * 4 + "|")
    for path in (False, True):
        distilled(path, options.steps)


if __name__ == "__main__":
    main()
