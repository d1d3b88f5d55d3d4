"""Flows of the zuko library, an optional dependency."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Transform
from typing_extensions import override

from nfvae.flows.base import Flow, Given
from nfvae.flows.bijection import Bijection
from nfvae.registry import OWN, check_options, import_attribute, is_class_path, options_of, unknown

try:
    import zuko
except ImportError as error:
    raise ImportError("zuko is not installed; install it with pip install nfvae[zuko]") from error

_GIVEN = ("features", "context", "transforms")


class ZukoBijection(Bijection):
    """A transform of zuko.

    - *Forward*: the transform itself, which is the direction that zuko computes in one pass.
    - *Log-determinant*: zuko's.
    - *Inverse*: the transform's; an autoregressive transform runs its network once per coordinate.
    - *Constraint*: zuko's own. Not every transform is defined far from zero: see its documentation.

    Args:
        transform: transform of vectors, or of single numbers.
        shape: (*, D), where * is the batch shape of the transform's tensors.
        differentiates: whether evaluating the transform needs gradients.
        made_of: tensors that the transform depends on.
    """

    def __init__(
        self, transform: Transform, shape: Sequence[int], differentiates: bool = False, made_of: Sequence[Tensor] = ()
    ) -> None:
        super().__init__(shape)
        self.transform, self.differentiates, self.made_of = transform, differentiates, list(made_of)

    @override
    def tensors(self) -> list[Tensor]:
        return self.made_of

    @override
    def _forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self._summed(self.transform, z)

    @override
    def _inverse_and_log_det(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self._summed(self.transform.inv, y)

    def _summed(self, transform: Transform, points: Tensor) -> tuple[Tensor, Tensor]:
        batch = torch.broadcast_shapes(points.shape[:-1], self.batch_shape)  # type: ignore[no-untyped-call]
        points = _usable(points.expand(*batch, points.shape[-1]))
        with _graph(self.differentiates) as wanted:
            mapped, log_det = transform.call_and_ladj(points)  # type: ignore[attr-defined]  # zuko's addition
            log_det = log_det if self.transform.domain.event_dim else log_det.sum(-1)
        return (mapped, log_det) if wanted else (mapped.detach(), log_det.detach())


@contextmanager
def _graph(differentiates: bool) -> Iterator[bool]:
    """Leave inference mode, whose results zuko would keep; yield whether gradients were enabled."""
    wanted = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.set_grad_enabled(wanted or differentiates):
        yield wanted


def _usable(tensor: Tensor) -> Tensor:
    return tensor.clone() if tensor.is_inference() else tensor


class ZukoFlow(Flow):
    """Zuko's transforms, with the context, as a flow whose samples take one pass.

    A flow of zuko maps data to noise. Here its transform maps z_0 to z_K instead, since it computes this direction in
    one pass: `transform: MAF` is an inverse autoregressive posterior.

    Args:
        features: D, the number of latent coordinates.
        context: C, the size of h; 0 makes the flow global.
        depth: number of transforms.
        transform: name of a flow or lazy transform of `zuko.flows`, such as NSF, SOSPF or ElementWiseTransform, or
            "package.module:Class" of your own lazy transform.
        transform_options: further arguments of the transform's class, such as `{hidden_features: [320, 320]}`.

    Raises:
        ValueError: for sizes below 1, an unknown name, or options that zuko refuses.

    References:
        zuko, https://zuko.readthedocs.io
    """

    sequential: str | None = "inverse"

    def __init__(
        self,
        features: int,
        context: int = 0,
        depth: int = 1,
        transform: str = "MAF",
        transform_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(features, context, depth)
        kind, options = _load(transform), transform_options or {}
        check_options("transform", transform, set(options) & set(_GIVEN), ())
        try:
            self.transform = _make(kind, features, context, depth, options)
        except Exception as error:  # zuko reports unknown options in exceptions of many kinds
            raise ValueError(f"zuko's {transform} refuses options {options}: {error}") from error
        self.differentiates = self._differentiates()

    @torch.no_grad()
    def _differentiates(self) -> bool:
        """Return whether evaluating the transform needs gradients."""
        transform = self.transform(torch.zeros(self.context) if self.context else None)
        bijection = ZukoBijection(transform, (self.features,))
        try:
            bijection.forward_and_log_det(torch.zeros(1, self.features))
        except RuntimeError:
            return True
        return False

    @override
    def given(self, h: Tensor | None) -> Given:
        return {} if h is None else {"h": h}

    @override
    def build(self, given: Given) -> Bijection:
        h = _usable(given["h"]) if given else None
        shape = (*(() if h is None else h.shape[:-1]), self.features)
        with _graph(self.differentiates):
            return ZukoBijection(self.transform(h), shape, self.differentiates, [*self.parameters(), *given.values()])


def _load(name: str) -> type[Any]:
    """Return the class of a flow or a lazy transform."""
    kinds = {
        each: kind
        for each, kind in vars(zuko.flows).items()
        if isinstance(kind, type) and issubclass(kind, zuko.lazy.Flow | zuko.lazy.LazyTransform)
    }
    abstract = (zuko.lazy.Flow, zuko.lazy.LazyTransform, zuko.lazy.LazyInverse, zuko.lazy.UnconditionalTransform)
    kinds = {each: kind for each, kind in kinds.items() if kind not in abstract}
    kind = import_attribute("transform", name) if is_class_path(name) else kinds.get(name)
    if kind is None:
        raise ValueError(unknown("transform", name, [*kinds, OWN]))
    if not (isinstance(kind, type) and issubclass(kind, zuko.lazy.Flow | zuko.lazy.LazyTransform)):
        raise ValueError(f"{name!r} is neither a lazy transform nor a flow of zuko")
    return kind


def _make(kind: type[Any], features: int, context: int, depth: int, options: dict[str, Any]) -> Any:
    """Return a lazy transform of `depth` layers."""
    if "transforms" in options_of(kind):
        return kind(features, context, transforms=depth, **options).transform
    layers = [kind(features, context, **options) for _ in range(depth)]
    return zuko.lazy.LazyComposedTransform(*(getattr(layer, "transform", layer) for layer in layers))
