"""The likelihood of a run on a whole split: what is asked, whether it is done, and doing it in chunks that survive."""

import csv
import io
import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from nfvae.estimators import Estimate, k_values, log_likelihood
from nfvae.estimators.pareto import KHAT_LIMIT
from nfvae.models import VAE
from nfvae.runs.files import read_json, whole_file, write_whole
from nfvae.runs.run import Run

IMAGES_PER_FILE = 100  # whose estimates are written to disk together
_ACTIVE_VARIANCE = 0.01  # of a latent's posterior mean over the images, from which it counts as active
_CSV = {"log_likelihood": "log_likelihood", "elbo": "elbo", "se": "standard_error", "ess": "ess", "khat": "khat"}


class Evaluation:
    """The likelihood of a split under a trained run, written beside the run.

    Writes evaluation-SPLIT-SAMPLES.json and, image by image, .csv. Chunks that an interrupted evaluation with the same
    settings has finished are taken over; where one came to its end, its files answer.

    Args:
        run: the run.
        samples: K, importance samples an image.
        split: `train`, `val` or `test`.
        limit: how many images, the first ones; by default all.
        seed: of the noise.
        data: settings of `BinarizedImages` that differ from the training's.

    Attributes:
        images: the binary images with shape (N, P).
        identity: what tells this evaluation from others.
        path: the JSON file.
        estimate: the values of every image; None before `compute`.

    Raises:
        ValueError: for samples or limit below 1, an unknown split, or images of another shape than the model's.
    """

    def __init__(
        self,
        run: Run,
        samples: int = 5000,
        split: str = "test",
        limit: int | None = None,
        seed: int = 0,
        **data: Any,
    ) -> None:
        if samples < 1 or (limit is not None and limit < 1):
            raise ValueError(f"samples and limit must be at least 1; got {samples} and {limit}")
        module, dataset = run.images(**data), run.data_settings["dataset"]
        expected, self.shape = list(run.settings["shape"]), module.shape
        given = module.hparams["dataset"]
        if list(module.shape) != expected:
            raise ValueError(
                f"run {run.folder.path} models images of shape {expected}; those of {given} have {list(module.shape)}"
            )
        self.run, self.images, self.estimate = run, module.images(split)[:limit], None
        self.identity = {
            "dataset": given,
            "binarization": module.hparams["binarization"],
            "split": split,
            "images": len(self.images),
            "samples": samples,
            "seed": seed,
            "matmul_precision": torch.get_float32_matmul_precision(),
            "checkpoint_sha256": run.digest(),
        }
        self.path = run.folder.evaluation(split if given == dataset else f"{given}-{split}", samples)

    estimate: Estimate | None

    def finished(self) -> dict[str, Any]:
        """Return the summary that this very evaluation has left; empty where it has not come to its end."""
        done = read_json(self.path)
        return done if done and self.identity.items() <= done.items() else {}

    def compute(self, trainer: pl.Trainer) -> dict[str, Any]:
        """Estimate what is still to do, write the files, and return the summary.

        Args:
            trainer: whose devices do the work; built with `use_distributed_sampler=False`, as every device takes
                its own share here.

        Raises:
            FloatingPointError: if a log-likelihood is not finite.
        """
        chunks = LikelihoodChunks(self.run.vae(), self.images, self.path.with_suffix(".partial"), self.identity)
        trainer.predict(chunks, return_predictions=False)
        trainer.strategy.barrier()
        self.estimate, seconds = chunks.collect()
        trainer.strategy.barrier()
        summary = summarize(self.estimate, self.identity["samples"], self.images.shape[1])
        summary = self.identity | summary | {"seconds": round(seconds, 1)}
        if trainer.is_global_zero:
            write_whole(self.path.with_suffix(".csv"), _csv(self.estimate))
            write_whole(self.path, json.dumps(summary, indent=2, allow_nan=False) + "\n")
            shutil.rmtree(chunks.folder)
        return summary


class LikelihoodChunks(pl.LightningModule):
    """Estimate the likelihood of images in chunks of 100, each written to disk as soon as it is done.

    Args:
        model: the VAE.
        images: binary images with shape (N, P).
        folder: where the chunks go.
        identity: what tells these chunks from those of another evaluation, which are deleted; has `samples`, `seed`.
    """

    def __init__(self, model: VAE, images: Tensor, folder: Path, identity: dict[str, Any]) -> None:
        super().__init__()
        self.model, self.images, self.folder, self.identity = model, images, folder, identity
        self.title = folder.resolve().parent.name
        self.firsts = range(0, len(images), IMAGES_PER_FILE)

    def setup(self, stage: str) -> None:
        """Keep the finished chunks of the same evaluation, no others."""
        if self.trainer.is_global_zero and read_json(self.folder / "identity.json") != self.identity:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir()
            write_whole(self.folder / "identity.json", json.dumps(self.identity))
        self.trainer.strategy.barrier()

    def predict_dataloader(self) -> "DataLoader[Tensor]":
        """Return the image indices of each chunk that is still to do, every device its share."""
        share = self.firsts[self.trainer.global_rank :: self.trainer.world_size]
        todo = [torch.arange(first, self._end(first)) for first in share if not self._done(first)]
        return DataLoader(todo, batch_size=None)  # type: ignore[arg-type]

    def predict_step(self, indices: Tensor, batch_idx: int) -> Tensor:
        """Estimate one chunk, write it, and return its log-likelihoods.

        Raises:
            FloatingPointError: if a log-likelihood is not finite.
        """
        start = time.perf_counter()
        x = self.images[indices.cpu()].to(self.device).float()
        samples, seed = self.identity["samples"], self.identity["seed"]
        estimate = log_likelihood(self.model, x, samples, seed=seed, indices=indices)
        values = [value.cpu() for value in estimate]
        if not (finite := values[0].isfinite()).all():
            raise FloatingPointError(f"the log-likelihood of image {int(indices[~finite][0])} is not finite")
        seconds = (time.perf_counter() - start) / self.trainer.world_size
        with whole_file(self._file(int(indices[0]))) as file:
            torch.save({"estimate": values, "seconds": seconds}, file)
        return estimate.log_likelihood

    def images_left(self) -> int:
        """Count the images of the chunks that are still to do, on all devices."""
        return sum(self._end(first) - first for first in self.firsts if not self._done(first))

    def collect(self) -> tuple[Estimate, float]:
        """Put the chunks together; the second value is the wall time that they took, in seconds."""
        chunks = [torch.load(self._file(first), weights_only=True) for first in self.firsts]
        columns = zip(*(chunk["estimate"] for chunk in chunks), strict=True)
        return Estimate(*(torch.cat(column) for column in columns)), sum(chunk["seconds"] for chunk in chunks)

    def _end(self, first: int) -> int:
        return min(first + IMAGES_PER_FILE, len(self.images))

    def _file(self, first: int) -> Path:
        return self.folder / f"{first}.pt"

    def _done(self, first: int) -> bool:
        return self._file(first).is_file()


def summarize(estimate: Estimate, samples: int, pixels: int) -> dict[str, Any]:
    """Sum up the estimates of N images of P pixels from K samples, in nats per image; None is what cannot be said.

    `elbo_se` and `nll_se` are standard errors over images, `nll_mc_se` that of the Monte-Carlo sampling alone. Active
    units (arXiv 1509.00519) are the latents whose posterior mean varies over the images by more than 0.01; what
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
        "active_units": _above(drift, _ACTIVE_VARIANCE).sum(),
        "ess_median": estimate.ess.median(),
        "ess_p05": estimate.ess.quantile(0.05),
        "khat_above_0_7": _above(estimate.khat, KHAT_LIMIT).mean(),
    }
    summary: dict[str, Any] = {name: _number(value) for name, value in values.items()}
    bounds = map(_number, estimate.k_curve.mean(0))
    return summary | {"k_curve": dict(zip(map(str, k_values(samples)), bounds, strict=True))}


def _above(values: Tensor, limit: float) -> Tensor:
    """Return 1 where a value is above the limit, 0 where it is not, NaN where it is not known."""
    return torch.where(values.isnan(), values, (values > limit).double())


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
    writer.writerow(["index", *_CSV])
    columns = [getattr(estimate, name).tolist() for name in _CSV.values()]
    writer.writerows([index, *row] for index, row in enumerate(zip(*columns, strict=True)))
    return out.getvalue()
