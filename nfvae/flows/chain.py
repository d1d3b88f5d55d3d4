"""Flows of different families in sequence."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from typing_extensions import override

from nfvae.flows import FLOWS
from nfvae.flows.base import Flow, Given
from nfvae.flows.bijection import Bijection, Chain
from nfvae.registry import check_options

_PART = ("flow", "depth", "flow_options")


class ChainFlow(Flow):
    """Apply flows of different families in order.

    Args:
        features: D, the number of latent coordinates.
        context: C, the size of h, which each part sees; 0 makes the flow global.
        depth: number of layers of each part without its own depth.
        parts: flows as in a config: `[{flow: planar, depth: 4}, {flow: iaf, depth: 2, flow_options: {...}}]`.

    Raises:
        ValueError: without parts, for an unknown name, setting or option, or a value that a part refuses.
    """

    mixed: bool = True  # each part decides

    def __init__(
        self, features: int, context: int = 0, depth: int = 1, parts: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        super().__init__(features, context, depth)
        if not isinstance(parts, Sequence) or isinstance(parts, str) or not parts:
            raise ValueError(f"parts takes a list such as [{{flow: planar, depth: 4}}, {{flow: iaf}}]; got {parts!r}")
        self.flows: Sequence[Flow] = nn.ModuleList(self._make(part) for part in parts)  # type: ignore[assignment]
        self.exact = all(flow.exact for flow in self.flows)

    def _make(self, part: Mapping[str, Any]) -> Flow:
        if not isinstance(part, Mapping) or "flow" not in part:
            raise ValueError(f"a part names its flow, as in {{flow: planar, depth: 4}}; got {part!r}")
        check_options("part", part["flow"], part, _PART)
        given = {"features": self.features, "context": self.context, "depth": part.get("depth", self.depth)}
        return FLOWS.make(part["flow"], part.get("flow_options"), **given)

    @override
    def given(self, h: Tensor | None) -> Given:
        given: dict[str, Tensor] = {}
        for part, flow in enumerate(self.flows):
            with flow.precision():
                given |= {f"{part}.{name}": value for name, value in flow.given(h).items()}
        return given

    @override
    def build(self, given: Given) -> Chain:
        parts: list[dict[str, Tensor]] = [{} for _ in self.flows]
        for name, value in given.items():
            part, own = name.split(".", 1)
            parts[int(part)][own] = value
        return Chain([self._built(flow, own) for flow, own in zip(self.flows, parts, strict=True)])

    @staticmethod
    def _built(flow: Flow, given: Given) -> Bijection:
        with flow.precision():
            return flow.build(given)
