"""The likelihood of a trained run on a whole split: computed in parts that survive an interruption, then summed up."""

import csv
import hashlib
import io
import json
import math
import os
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from nfvae.importance import Estimate, k_values, log_likelihood
from nfvae.runs import Run
from nfvae.vae import VAE

PART = 100  # images whose estimates are written to disk together
ACTIVE = 0.01  # variance of a latent's posterior mean over the images from which it counts as active
HEAVY = 0.7  # k̂ above which an importance-sampling estimate is not to be believed
_COLUMNS = {"log_likelihood": "log_likelihood", "elbo": "elbo", "se": "standard_error", "ess": "ess", "khat": "khat"}


class Evaluation(NamedTuple):
    """A finished evaluation.

    Attributes:
        summary: what the JSON file holds.
        estimate: the values of every image; None where the files of an earlier call answered.
        images: the binary images with shape (N, P).
        path: the JSON file.
    """

    summary: dict[str, Any]
    estimate: Estimate | None
    images: Tensor
    path: Path


def evaluate(
    run: Run,
    trainer: pl.Trainer,
    samples: int = 5000,
    split: str = "test",
    limit: int | None = None,
    seed: int = 0,
    **data: Any,
) -> Evaluation:
    """Estimate the likelihood of a split under a trained run, and write it beside the run.

    Writes evaluation-SPLIT-SAMPLES.json and, image by image, .csv. Parts that an interrupted call with the same
    settings has finished are taken over; where one came to its end, its files answer.

    Args:
        run: the run.
        trainer: whose devices do the work; built with `use_distributed_sampler=False`, as every device takes its own
            share here.
        samples: K, importance samples an image.
        split: `train`, `val` or `test`.
        limit: how many images, the first ones; by default all.
        seed: of the noise.
        data: settings of `BinarizedImages` that differ from the training's.

    Raises:
        ValueError: for samples or limit below 1, an unknown split, or images of another shape than the model's.
        FloatingPointError: if a log-likelihood is not finite.
    """
    if samples < 1 or (limit is not None and limit < 1):
        raise ValueError(f"samples and limit must be at least 1; got {samples} and {limit}")
    source, trained_on = run.data(**data), run.data()
    dataset, expected = source.hparams["dataset"], run.hparams["pixels"]
    if source.pixels != expected:
        raise ValueError(
            f"run {run.folder} models images of {expected} pixels; those of {dataset} have {source.pixels}"
        )
    images = source.images(split)[:limit]
    identity = {
        "dataset": dataset,
        "binarization": source.hparams["binarization"],
        "split": split,
        "images": len(images),
        "samples": samples,
        "seed": seed,
        "matmul_precision": torch.get_float32_matmul_precision(),
        "checkpoint_sha256": hashlib.sha256(run.best.read_bytes()).hexdigest(),
    }
    foreign = "" if dataset == trained_on.hparams["dataset"] else f"{dataset}-"
    path = evaluation_path(run.folder, f"{foreign}{split}", samples)
    if (done := _read_json(path)) and identity.items() <= done.items():
        return Evaluation(done, None, images, path)
    parts = LikelihoodParts(run.module().model, images, samples, seed, path.with_suffix(".partial"), identity)
    trainer.predict(parts, return_predictions=False)
    trainer.strategy.barrier()
    estimate, seconds = parts.collect()
    trainer.strategy.barrier()
    summary = identity | summarize(estimate, samples, source.pixels) | {"seconds": round(seconds, 1)}
    if trainer.is_global_zero:
        write_whole(path.with_suffix(".csv"), _csv(estimate))
        write_whole(path, json.dumps(summary, indent=2, allow_nan=False) + "\n")
        shutil.rmtree(parts.folder)
    return Evaluation(summary, estimate, images, path)


def evaluation_path(folder: Path, split: str, samples: int) -> Path:
    """Return where an evaluation of a run lies; the values of every image lie beside it as .csv."""
    return folder / f"evaluation-{split}-{samples}.json"


class LikelihoodParts(pl.LightningModule):
    """Estimate the likelihood of images in parts of 100, each written to disk as soon as it is done.

    Args:
        model: the VAE.
        images: binary images with shape (N, P).
        samples: K.
        seed: of the noise.
        folder: where the parts go.
        identity: what tells these parts from those of another evaluation, which are deleted.
    """

    def __init__(
        self, model: VAE, images: Tensor, samples: int, seed: int, folder: Path, identity: dict[str, Any]
    ) -> None:
        super().__init__()
        self.model, self.images, self.samples, self.seed = model, images, samples, seed
        self.folder, self.identity, self.title = folder, identity, folder.resolve().parent.name
        self.firsts = range(0, len(images), PART)

    def setup(self, stage: str) -> None:
        """Keep the finished parts of the same evaluation, no others."""
        if self.trainer.is_global_zero and _read_json(self.folder / "identity.json") != self.identity:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir()
            write_whole(self.folder / "identity.json", json.dumps(self.identity))
        self.trainer.strategy.barrier()

    def predict_dataloader(self) -> "DataLoader[Tensor]":
        """Return the image indices of each part that is still to do, every device its share."""
        share = self.firsts[self.trainer.global_rank :: self.trainer.world_size]
        todo = [torch.arange(first, min(first + PART, len(self.images))) for first in share if not self._done(first)]
        return DataLoader(todo, batch_size=None)  # type: ignore[arg-type]

    def predict_step(self, indices: Tensor, batch_idx: int) -> Tensor:
        """Estimate one part, write it, and return its log-likelihoods.

        Raises:
            FloatingPointError: if a log-likelihood is not finite.
        """
        start = time.perf_counter()
        x = self.images[indices.cpu()].to(self.device).float()
        estimate = log_likelihood(self.model, x, self.samples, seed=self.seed, indices=indices)
        values = [value.cpu() for value in estimate]
        if not (finite := values[0].isfinite()).all():
            raise FloatingPointError(f"the log-likelihood of image {int(indices[~finite][0])} is not finite")
        seconds = (time.perf_counter() - start) / self.trainer.world_size
        path = self._part(int(indices[0]))
        torch.save({"estimate": values, "seconds": seconds}, path.with_suffix(".tmp"))
        os.replace(path.with_suffix(".tmp"), path)
        return estimate.log_likelihood

    def images_left(self) -> int:
        """Count the images of the parts that are still to do, on all devices."""
        return sum(min(PART, len(self.images) - first) for first in self.firsts if not self._done(first))

    def collect(self) -> tuple[Estimate, float]:
        """Put the parts together; the second value is the wall time that they took, in seconds."""
        parts = [torch.load(self._part(first), weights_only=True) for first in self.firsts]
        columns = zip(*(part["estimate"] for part in parts), strict=True)
        return Estimate(*(torch.cat(column) for column in columns)), sum(part["seconds"] for part in parts)

    def _part(self, first: int) -> Path:
        return self.folder / f"{first}.pt"

    def _done(self, first: int) -> bool:
        return self._part(first).is_file()


def summarize(estimate: Estimate, samples: int, pixels: int) -> dict[str, Any]:
    """Sum up the estimates of N images of P pixels from K samples, in nats per image; None is what cannot be said.

    `elbo_se` and `nll_se` are standard errors over images, `nll_mc_se` that of the Monte-Carlo sampling alone. Active
    units (Burda et al., 2016) are the latents whose posterior mean varies over the images by more than 0.01; what
    Monte-Carlo noise adds to that variance is taken off.
    """
    elbo, nll = estimate.elbo.mean(), -estimate.log_likelihood.mean()
    drift = estimate.posterior_mean.var(0) - estimate.posterior_variance.mean(0) / samples
    values = {
        "elbo": elbo,
        "elbo_se": _error_of_mean(estimate.elbo),
        "nll": nll,
        "nll_se": _error_of_mean(estimate.log_likelihood),
        "nll_mc_se": estimate.standard_error.square().mean().div(len(estimate.elbo)).sqrt(),
        "gap": -elbo - nll,
        "kl": estimate.kl.mean(),
        "bits_per_pixel": nll / (pixels * math.log(2)),
        "active_units": torch.where(drift.isnan(), drift, (drift > ACTIVE).double()).sum(),
        "ess_median": estimate.ess.median(),
        "ess_p05": estimate.ess.quantile(0.05),
        "khat_above_0_7": torch.where(estimate.khat.isnan(), estimate.khat, (estimate.khat > HEAVY).double()).mean(),
    }
    summary: dict[str, Any] = {name: _number(value) for name, value in values.items()}
    bounds = map(_number, estimate.k_curve.mean(0))
    return summary | {"k_curve": dict(zip(map(str, k_values(samples)), bounds, strict=True))}


def _error_of_mean(values: Tensor) -> Tensor:
    return values.std() / len(values) ** 0.5 if len(values) > 1 else values.new_tensor(math.nan)


def _number(value: Tensor) -> float | int | None:
    number = round(value.item(), 6)
    if math.isnan(number):
        return None
    return int(number) if number.is_integer() else number


def _csv(estimate: Estimate) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["index", *_COLUMNS])
    columns = [getattr(estimate, name).tolist() for name in _COLUMNS.values()]
    writer.writerows([index, *row] for index, row in enumerate(zip(*columns, strict=True)))
    return out.getvalue()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):  # none, or one that was cut off
        return {}
    return content


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(path.name + ".tmp")
    partial.write_text(text)
    os.replace(partial, path)
