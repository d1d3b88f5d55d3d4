"""Multiple imputation of missing values, by sampling importance resampling."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from nfvae.estimators.importance import tail_length
from nfvae.estimators.pareto import pareto_khat
from nfvae.estimators.streaming import Images, image_blocks, image_generator, stream
from nfvae.models import VAE, evaluating
from nfvae.numerics import double, log_mean_exp
from nfvae.registry import check_sizes

_FEWEST = 25  # samples, below which k̂ is unknown


class Imputation(NamedTuple):
    """Imputations of B data.

    Attributes:
        values: L completed data with shape (L, B, P); observed values are unchanged.
        mean: completed data with shape (B, P) whose missing values are their means given the observed ones.
        log_likelihood: log p̂(x) of the observed values with shape (B,), in nats.
        ess: effective sample size of the weights with shape (B,), between 1 and K.
        khat: Pareto k̂ of the weights with shape (B,): above 0.7 the imputations rest on a few samples. NaN if K < 25.
    """

    values: Tensor
    mean: Tensor
    log_likelihood: Tensor
    ess: Tensor
    khat: Tensor


def impute(
    model: VAE,
    x: Tensor,
    imputations: int = 10,
    samples: int = 1000,
    *,
    seed: int = 0,
    indices: Tensor | None = None,
    rows: int | None = None,
) -> Imputation:
    """Impute missing values: draw L latents from K weighted samples of q(z|x), and the missing values from p(x|z).

    With growing K the imputations become exact samples of the missing values given the observed ones. Those of a datum
    depend only on the seed and its index.

    Args:
        model: a VAE of data that can have missing values, which is evaluated in eval mode.
        x: rows of data with shape (B, P + C), NaN where missing.
        imputations: number of imputations L.
        samples: number of importance samples K.
        seed: random seed.
        indices: index of each datum in its data set, with shape (B,); by default 0 ... B-1.
        rows: samples times data that are decoded at once; the default depends on the device.

    Raises:
        ValueError: for numbers below 1, or data that the model does not accept.

    References:
        MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets, arXiv 1812.02633.

    Example:
        >>> from nfvae import make_vae
        >>> x = torch.tensor([[0.0, 1.0, torch.nan]])
        >>> impute(make_vae("planar", depth=2, shape=[3], missing=True), x, imputations=4, samples=50).values.shape
        torch.Size([4, 1, 3])
    """
    check_sizes(imputations=imputations)
    blocks = image_blocks(model, x, samples, indices, rows)
    with evaluating(model):
        parts = [_imputed(model, block, imputations, samples, seed) for block in blocks]
    joined = {name: [getattr(part, name) for part in parts] for name in Imputation._fields}
    return Imputation(torch.cat(joined.pop("values"), 1), **{name: torch.cat(each) for name, each in joined.items()})


def _imputed(model: VAE, images: Images, imputations: int, samples: int, seed: int) -> Imputation:
    chunks = [(chunk.z, double(chunk.log_weight)) for chunk in stream(model, images, samples, seed)]
    z, log_weight = (torch.cat(each) for each in zip(*chunks, strict=True))
    weights = log_weight.softmax(0)
    x, condition = model.split(images.x)
    values, means = [], torch.zeros_like(x)
    for place, index in enumerate(images.indices):
        own = None if condition is None else condition[place]
        generator = image_generator(seed, index, "imputation", torch.device("cpu"))
        chosen = torch.multinomial(weights[:, place].cpu(), imputations, replacement=True, generator=generator)
        with torch.random.fork_rng():
            torch.manual_seed(generator.initial_seed())
            values.append(model.decode(z[chosen.to(z.device), place], own).sample())
        for part, weight in zip(*(torch.split(each[:, place], images.rows) for each in (z, weights)), strict=True):
            means[place] += weight.to(means) @ model.decode(part, own).mean
    missing, khat = x.isnan(), torch.full_like(log_weight[0], math.nan)
    if samples >= _FEWEST:
        khat = pareto_khat(log_weight.topk(tail_length(samples) + 1, 0).values)
    ess = 1 / weights.square().sum(0)
    drawn = torch.where(missing, torch.stack(values, 1), x)
    return Imputation(drawn, torch.where(missing, means, x), log_mean_exp(log_weight), ess, khat)
