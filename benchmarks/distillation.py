"""Compare students of one teacher on MNIST: taught by its posterior, by its joint density, and trained from nothing.

    python benchmarks/distillation.py [--runs runs] [--epochs 20] [--images 1000] [--samples 1000] [--seed 0] [--quick]

Trains the teacher of configs/distill/teacher.yaml, whose posterior is a masked autoregressive flow; then for planar,
radial and IAF posteriors a student of configs/distill/student.yaml by each target, and a rival by the ELBO with a
decoder of its own. Measures all of them on the first test images and prints the table. What an interrupted call has
trained is taken over. An ELBO with the teacher's decoder frozen is the loss of the joint target: one row for both.
"""

import argparse
import os
from pathlib import Path

import torch
from common import ROOT, parsed, print_machine

from nfvae import Run, reverse_kl
from nfvae.__main__ import main as nfvae
from nfvae.runs import EvaluationSettings, RunFolder, draw_seconds
from nfvae.runs.estimators.importance import Importance
from nfvae.runs.results import read_summary

CONFIGS = ROOT / "configs" / "distill"
NARROW = '{"hidden": 100, "hidden_layers": 1, "univariate": "affine"}'  # as in student.yaml
FLOWS = {
    "planar": ["--model.depth", "10"],
    "radial": ["--model.depth", "10"],
    "iaf": ["--model.depth", "2", "--model.flow_options", NARROW],
}
BLOCK = 10  # draws of each image at a time


def call(*words):
    if code := nfvae([str(word) for word in words]):
        raise SystemExit(code)


def train(folder, config, *options):
    """Fit a run, go on with one that was interrupted, or take one that is done."""
    run = RunFolder(folder)
    if run.picture("samples").is_file():
        return folder
    if run.last.is_file():
        call("fit", "--ckpt_path", run.last)
    else:
        call(
            "fit", "-c", CONFIGS / config, "--name", folder.name, "--trainer.default_root_dir", folder.parent, *options
        )
    return folder


def train_all(runs, options):
    """The folder of each row's run by what the row is called, the teacher's first."""
    folders = {"teacher": train(runs / "mnist-maf-teacher", "teacher.yaml", *options)}
    for flow, depth in FLOWS.items():
        student = ["--model.flow", flow, *depth, *options]
        for target in ("posterior", "joint"):
            taught = ["--model.teacher", folders["teacher"], "--model.target", target]
            folders[f"{flow}, {target}"] = train(runs / f"mnist-{flow}-{target}", "student.yaml", *taught, *student)
        folders[f"{flow}, ELBO"] = train(runs / f"mnist-{flow}-elbo", "teacher.yaml", *student)
    return folders


@torch.no_grad()
def divergence(one, other, draws):
    """KL(one || other), a mean over images, and its standard error."""
    values = torch.stack([reverse_kl(one, other.log_prob, BLOCK) for _ in range(draws // BLOCK)]).mean(0)
    return f"{values.mean():.2f} ± {values.std() / len(values) ** 0.5:.2f}"


@torch.no_grad()
def measure(folders, images, samples):
    """Print a line for each row."""
    call("evaluate", *folders.values(), "--samples", samples, "--limit", images)
    x = Run(folders["teacher"]).data().rows("test")[:images].float()
    posteriors = {name: Run(folder).vae().posterior(x) for name, folder in folders.items()}
    teacher = posteriors["teacher"]
    slowest = draw_seconds(teacher, 1000 // BLOCK, BLOCK, repeats=1)
    print("\n| posterior, trained by | KL(student ∥ teacher) | KL(teacher ∥ student) | -ELBO | NLL | active units "
          "| training, s | 1000 draws of each image, s | teacher / student |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    for name, folder in folders.items():
        summary = read_summary(Run(folder), EvaluationSettings(Importance(samples=samples), limit=images))
        training = sum(epoch["seconds"] for epoch in RunFolder(folder).history())
        distances = ["–", "–"]
        if name.endswith(("posterior", "joint")):
            distances = [divergence(posteriors[name], teacher, 100), divergence(teacher, posteriors[name], 100)]
        drawing = slowest if name == "teacher" else draw_seconds(posteriors[name], 1000 // BLOCK, BLOCK, repeats=1)
        cells = [
            "maf, ELBO: the teacher" if name == "teacher" else name,
            *distances,
            f"{-summary['elbo']:.2f}",
            f"{summary['nll']:.2f}",
            str(summary["active_units"]),
            f"{training:.0f}",
            f"{drawing:.1f}",
            f"{slowest / drawing:.0f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs go")
    parser.add_argument("--epochs", type=int, default=20, help="of each training")
    parser.add_argument("--images", type=int, default=1000, help="test images measured")
    parser.add_argument("--samples", type=int, default=1000, help="importance samples an image")
    parser.add_argument("--seed", type=int, default=0, help="of every training")
    parser.add_argument("--batches", type=int, help="of an epoch; without it all")
    asked = parsed(parser, epochs=1, images=10, samples=10, batches=1)
    os.environ.setdefault("WANDB_MODE", "disabled")
    print_machine()
    options = ["--trainer.max_epochs", asked.epochs, "--seed_everything", asked.seed]
    if asked.batches:
        options += ["--trainer.limit_train_batches", asked.batches, "--trainer.limit_val_batches", asked.batches]
    measure(train_all(asked.runs, options), asked.images, asked.samples)


if __name__ == "__main__":
    main()
