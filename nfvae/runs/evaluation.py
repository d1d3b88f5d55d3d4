"""The likelihood of a run on a whole split, computed in parts so that an interrupted evaluation can resume."""

import csv
import hashlib
import io
import json
import shutil
import time
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from typing_extensions import override

from nfvae.data import DataModule
from nfvae.data.batches import data_digest
from nfvae.estimators import check_bound
from nfvae.models import VAE, DataSpec
from nfvae.plots.canvas import of_vectors
from nfvae.runs.densities import draw_seconds
from nfvae.runs.digests import content_digest
from nfvae.runs.estimators import ESTIMATORS, Estimator, Images, estimator_of
from nfvae.runs.files import read_json, remove_partial, write_figure, write_tensors, write_whole
from nfvae.runs.folder import data_name
from nfvae.runs.locks import locked
from nfvae.runs.run import Run
from nfvae.runs.settings import DEFAULT, EvaluationSettings

_TEXTS = (
    "dataset",
    "data",
    "binarization",
    "split",
    "estimator",
    "matmul_precision",
    "run",
    "noun",
    "given",
    "observed",
)  # text values of a summary
_REAL = SimpleNamespace(is_density=True)
SHORT_DIGEST = 8
"""Digits of a digest in the name of a file or an experiment."""
_TIMED = 100  # images, and posterior samples per image, in the timing of sampling


class Evaluation:
    """The likelihood of a split under a trained run, written beside the run.

    Writes a summary (.json), the values of every image (.csv) and a figure (.png). Finished work is not repeated.

    Args:
        run: the run.
        settings: settings of the evaluation; `matmul_precision` is replaced by torch's present setting.
        root: root of the data; None for that of the training.

    Attributes:
        images: the binary images.
        identity: values that identify this evaluation.
        path: path of the JSON file; `other` is the part of its name that marks data other than the training's.
        notice: why an earlier evaluation does not count; empty before `finished`, or if there is none.

    Raises:
        ValueError: for samples or limit below 1, an unknown split, or images of another shape than the model's.
    """

    def __init__(self, run: Run, settings: EvaluationSettings = DEFAULT, root: str | None = None) -> None:
        settings.check()
        settings = settings.of_run(run)
        changes = {"dataset": settings.dataset, "binarization": settings.binarization, "root": root}
        data = run.data(**{name: value for name, value in changes.items() if value is not None})
        run.check_spec(data.spec, data.hparams["dataset"])
        self.run, self.spec, self.notice, self.estimator = run, run.spec, "", settings.estimator
        self.seed, split = settings.seed, settings.images_of
        part = "test" if self.estimator.simulates else split
        limit, seed = settings.first_images, settings.seed
        self.images = self.estimator.images(run.model, lambda: data.rows(part), limit, seed)
        self.identity = {
            "dataset": data.hparams["dataset"],
            "binarization": data.binarization,
            "split": split,
            "images": len(self.images.x),
            "images_sha256": data_digest(self.images.x),
            "estimator": self.estimator.name,
            **self.estimator.settings(),
            "seed": settings.seed,
            "matmul_precision": torch.get_float32_matmul_precision(),
            "model_sha256": run.digest(),
        }
        given = "label" if data.source.classes else "condition" if self.spec.conditions else None
        self.about = {"data": data_name(data.hparams), "noun": self.spec.noun, "given": given}
        self.about |= {"observed": "true"} if self.spec.missing else {}
        self.other = other_data(run, data) if settings.dataset is None else ""
        path = settings._replace(matmul_precision=self.identity["matmul_precision"]).path(run)
        self.path = path = path.with_stem(path.stem + self.other)
        self.figure, self.parts = path.with_suffix(".png"), path.with_suffix(".partial")

    def finished(self) -> dict[str, Any]:
        """Return the saved summary of exactly this evaluation; empty if it has not finished."""
        try:
            done = read_evaluation(self.path)
        except FileNotFoundError:
            return {}
        except ValueError as error:
            wrong = str(error)
        else:
            if not (values := self.path.with_suffix(".csv")).is_file():
                wrong = f"{values} is missing"
            elif not self.identity.items() <= done.items():
                wrong = f"{self.path} is of {_difference(done, self.identity)}"
            else:
                return done
        self.notice = f"{wrong}: evaluating again"
        return {}

    def compute(self, trainer: pl.Trainer) -> dict[str, Any]:
        """Estimate the remaining images, write the files, and return the summary.

        Args:
            trainer: trainer that provides the devices, built with `use_distributed_sampler=False`, because this class
                divides the images among the devices itself.

        Raises:
            FloatingPointError: if a log-likelihood is not finite, or the ELBO is impossibly high.
            ValueError: if another process computes the same evaluation, or a folder has the name of a file.
        """
        for file in (self.path, self.path.with_suffix(".csv"), self.figure):
            if file.is_dir():
                raise ValueError(f"{file} is a folder; expected a file")
        model = self.run.model()
        chunks = LikelihoodChunks(model, self.images, self.parts, self.identity, self.estimator)
        with locked(self.path, "computed") if trainer.is_global_zero else nullcontext():
            if trainer.is_global_zero:
                remove_partial(self.path, self.path.with_suffix(".csv"), self.figure)
            trainer.predict(chunks, return_predictions=False)
            trainer.strategy.barrier()
            estimate, seconds = chunks.collect()
            trainer.strategy.barrier()
            is_density = getattr(model, "likelihood", _REAL).is_density  # of real numbers: no bits per dimension
            spec = self.spec._replace(levels=None) if is_density else self.spec
            summary = self.identity | self.estimator.summary(estimate, spec)
            if not is_density and summary["elbo"] is not None:
                check_bound("elbo", summary["elbo"])
            summary |= {"seconds": round(seconds, 1), "data_sha256": self.run.data_digest, **self.about}
            if trainer.is_global_zero:
                model = model.cpu()
                summary["draw_ms"] = _draw_ms(model, self.spec)
                summary["parameters"] = sum(parameter.numel() for parameter in model.parameters())
                self._write(estimate, summary)
        return summary

    def _write(self, estimate: Any, summary: dict[str, Any]) -> None:
        """Write the files, the summary last, because it marks the evaluation as complete."""
        values = _csv(self.estimator, estimate)
        write_whole(self.path.with_suffix(".csv"), values)
        self.draw()
        summary = summary | {"csv_sha256": hashlib.sha256(values.encode()).hexdigest()}
        summary["digest"] = content_digest(summary)
        write_whole(self.path, json.dumps(summary, indent=2, allow_nan=False) + "\n")

    def draw(self) -> None:
        """Draw the figure from the written values of the evaluation."""
        estimate = read_estimate(self.path.with_suffix(".csv"), self.estimator)
        what = f"{self.about['data']}{self.other}, {self.identity['split']} set: {described(self.identity)}"
        title, model = f"{self.run.folder.path}: {what}", self.run.model()
        figure = self.estimator.figure(model, estimate, self.images.x, self.spec, title, self.seed)
        write_figure(self.figure, figure if len(self.spec.shape) > 1 else of_vectors(figure))

    @property
    def is_settled(self) -> bool:
        """Whether the work that follows the summary is done."""
        return not self.parts.is_dir()

    def settle(self) -> None:
        """Delete the parts; call it when the work that follows the summary is done."""
        shutil.rmtree(self.parts, ignore_errors=True)


def described(summary: Mapping[str, Any]) -> str:
    """Describe the estimates of a summary, such as `5,000 importance samples (mixture proposal) an image`."""
    precision = summary.get("matmul_precision", "highest")
    coarse = "" if precision == "highest" else f", {precision} precision of products"
    names = summary["estimator"].split(", ")
    return ", and ".join(estimator_of(summary, name).described() + coarse for name in names)


def shown_data(summary: Mapping[str, Any]) -> str:
    """Return the name of the data of a summary; older ones lack that of a user's own file."""
    return str(summary.get("data", summary["dataset"]))


def described_images(summary: Mapping[str, Any]) -> str:
    """Describe the images of a summary, such as `test set of mnist, dynamic binarization, 1,000 images`."""
    binary = "" if summary["binarization"] == "none" else f", {summary['binarization']} binarization"
    given = f", given the {summary['given']} of each" if summary.get("given") else ""
    observed = ", log p of their observed values" if summary.get("observed") else ""
    noun = summary.get("noun", "images")
    return f"{summary['split']} set of {shown_data(summary)}{binary}, {summary['images']:,} {noun}{given}{observed}"


def of_its_data(text: str, summary: Mapping[str, Any]) -> str:
    """Replace the word image in a text by vector, if the data of a summary are vectors."""
    return text.replace("an image", "a vector").replace("image", "vector") if summary.get("noun") == "vectors" else text


def other_data(run: Run, data: DataModule) -> str:
    """Return the suffix of a file name for images other than the training's; empty for the training's."""
    return "" if run.data_digest in (None, data.digest) else f"-data_{data.digest[:SHORT_DIGEST]}"


def _difference(done: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
    """Describe how the summary of an evaluation differs from the identity of the requested one."""
    if done["model_sha256"] != identity["model_sha256"]:
        return "another checkpoint than the run now has"
    if "images_sha256" not in done:
        return "images that it does not tell from others"
    if done["images_sha256"] != identity["images_sha256"]:
        return "other data than there are now"
    return "another evaluation"


def read_evaluation(path: Path) -> dict[str, Any]:
    """Read and verify the summary of an evaluation; an exported one lacks the values of every image.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the summary or the values of every image are damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no evaluation {path}")
    summary = read_json(path)
    try:
        is_whole = summary.pop("digest", None) == content_digest(summary)
    except ValueError:  # nested too deeply
        is_whole = False
    if not is_whole:
        raise ValueError(f"{path} is damaged")
    texts = {*_TEXTS, *_texts_of(summary.get("estimator"))}
    if odd := [name for name, value in summary.items() if not _is_of_summary(name, value, texts)]:
        raise ValueError(f"{path} is damaged: {', '.join(odd)} cannot be {summary[odd[0]]!r:.40}")
    values = path.with_suffix(".csv")
    if values.is_file() and hashlib.sha256(values.read_bytes()).hexdigest() != summary["csv_sha256"]:
        raise ValueError(f"{values} is damaged")
    return summary


def _texts_of(estimator: Any) -> list[str]:
    """Return the names of an estimator's text settings; none for an unknown estimator."""
    known = isinstance(estimator, str) and estimator in ESTIMATORS
    defaults = ESTIMATORS.load(estimator).defaults() if known else {}
    return [name for name, value in defaults.items() if isinstance(value, str)]


def _is_of_summary(name: str, value: Any, texts: Collection[str] = ()) -> bool:
    """Return whether a summary can hold a value under a name: a number, None, or text under the names `texts`."""
    if name in texts or name.endswith("_sha256"):
        return isinstance(value, str | None)
    if name.endswith("_curve"):
        return isinstance(value, dict) and all(_is_of_summary("bound", bound) for bound in value.values())
    return isinstance(value, int | float | None) and not isinstance(value, bool)


def read_values(path: Path) -> dict[str, Tensor]:
    """Read the values of every image by column name; float64 with shape (N,)."""
    with path.open(newline="") as file:
        head, *lines = csv.reader(file)
    table = torch.tensor([[float(value) for value in line] for line in lines], dtype=torch.float64)
    return dict(zip(head, table.unbind(1), strict=True))


def read_estimate(path: Path, estimator: Estimator) -> Any:
    """Read the values of every image as an estimate; fields that the file lacks have no columns."""
    values, columns = read_values(path), estimator.values()
    fields: dict[str, Any] = {field: [] for field in estimator.result._fields}
    for name, (field, place) in columns.items():
        fields[field] = values[name] if place is None else [*fields[field], values[name]]
    nothing = values["index"][:, None][:, :0]
    stacked = {
        field: each if isinstance(each, Tensor) else torch.stack(each, 1) if each else nothing
        for field, each in fields.items()
    }
    return estimator.result(**stacked)


class LikelihoodChunks(pl.LightningModule):
    """Estimate the likelihood of images in chunks, each written to disk as soon as it is done.

    Args:
        model: the model.
        images: the data.
        folder: folder of the chunks.
        identity: values that identify the evaluation; chunks of another one are ignored.
        estimator: the estimator, with its settings.
    """

    def __init__(
        self, model: nn.Module, images: Images, folder: Path, identity: dict[str, Any], estimator: Estimator
    ) -> None:
        super().__init__()
        self.model, self.images, self.folder, self.identity, self.estimator = model, images, folder, identity, estimator
        self.title = folder.resolve().parent.name
        self.firsts = range(0, len(images.x), estimator.images_per_part)

    @override
    def setup(self, stage: str) -> None:
        """Create the folder of the chunks."""
        if self.trainer.is_global_zero:
            self.folder.mkdir(exist_ok=True)
        self.trainer.strategy.barrier()

    @override
    def predict_dataloader(self) -> "DataLoader[Tensor]":
        """Return the image indices of each remaining chunk of this device."""
        share = self.firsts[self.trainer.global_rank :: self.trainer.world_size]
        todo = [torch.arange(first, self._end(first)) for first in share if not self._part(first)]
        nothing = torch.arange(0)  # a device without chunks must still take part in the loop
        return DataLoader(todo or [nothing], batch_size=None)  # type: ignore[arg-type]

    @override
    def predict_step(self, indices: Tensor, batch_idx: int) -> Tensor:
        """Estimate one chunk, write it, and return its log-likelihoods.

        Raises:
            FloatingPointError: if a log-likelihood is not finite.
        """
        if not len(indices):
            return torch.zeros(0)
        start = time.perf_counter()
        here = [None if part is None else part[indices.cpu()].to(self.device).float() for part in self.images]
        estimate = self.estimator.estimate(self.model, Images(*here), indices, self.identity["seed"])  # type: ignore[arg-type]
        for field in self.estimator.finite:
            if not (finite := getattr(estimate, field).isfinite()).all():
                raise FloatingPointError(
                    f"the {field.replace('_', '-')} of image {int(indices[~finite.cpu()][0])} is not finite"
                )
        values: list[Tensor] = [value.cpu() for value in estimate]
        seconds = (time.perf_counter() - start) / self.trainer.world_size
        part: dict[str, Any] = {
            "identity": self.identity,
            "first": int(indices[0]),
            "estimate": values,
            "seconds": seconds,
        }
        write_tensors(self._file(part["first"]), part | {"digest": content_digest(part)})
        return values[0]

    def images_left(self) -> int:
        """Count the images of the remaining chunks, on all devices."""
        return sum(self._end(first) - first for first in self.firsts if not self._part(first))

    def collect(self) -> tuple[Any, float]:
        """Join the chunks; the second value is their wall time in seconds."""
        parts = [self._part(first) for first in self.firsts]
        if lost := [str(self._file(first)) for first, part in zip(self.firsts, parts, strict=True) if not part]:
            raise ValueError(f"{lost[0]} was lost or damaged; repeat the command to compute it again")
        columns = zip(*(part["estimate"] for part in parts), strict=True)
        return self.estimator.result(*(torch.cat(column) for column in columns)), sum(part["seconds"] for part in parts)

    def _end(self, first: int) -> int:
        return min(first + self.estimator.images_per_part, len(self.images.x))

    def _file(self, first: int) -> Path:
        return self.folder / f"{first}.pt"

    def _part(self, first: int) -> dict[str, Any]:
        """Read a chunk; empty if it is missing, damaged, or from another evaluation."""
        try:
            part: dict[str, Any] = torch.load(self._file(first), weights_only=True)
            digest = part.pop("digest")
            whole = digest == content_digest(part) and (part["identity"], part["first"]) == (self.identity, first)
            counts = [len(values) for values in self.estimator.result(*map(torch.Tensor.double, part["estimate"]))]
            whole &= {*counts} == {self._end(first) - first} and part["seconds"] >= 0
        except Exception:  # no file, or any exception of the unpickler
            return {}
        return part if whole else {}


def _draw_ms(model: Any, spec: DataSpec) -> float:
    """Time 100 samples of the posterior of each of 100 data, or of a density, in milliseconds."""
    if isinstance(model, VAE):
        return round(1000 * draw_seconds(model.posterior(torch.zeros(_TIMED, spec.width)), 1, _TIMED), 2)
    condition = torch.zeros(_TIMED, spec.conditions) if spec.conditions else None
    return round(1000 * draw_seconds(model(condition), 1, _TIMED if spec.conditions else _TIMED**2), 2)


def _csv(estimator: Estimator, estimate: Any) -> str:
    fields = {name: (getattr(estimate, field), place) for name, (field, place) in estimator.values().items()}
    columns = [(values if place is None else values[:, place]).tolist() for values, place in fields.values()]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["index", *fields])
    writer.writerows([index, *row] for index, row in enumerate(zip(*columns, strict=True)))
    return out.getvalue()
