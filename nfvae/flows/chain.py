"""Flows of different families, one after the other."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from nfvae.flows import FLOWS
from nfvae.flows.base import Flow
from nfvae.flows.bijection import Chain
from nfvae.registry import check_options

_PART = ("flow", "depth", "flow_options")


class ChainFlow(Flow):
    """Apply flows of different families one after the other, the first one first.

    Args:
        features: D, the number of latent coordinates.
        context: C, the size of h, which each part sees; 0 makes the flow global.
        depth: layers of each part that does not say its own.
        parts: flows as a config says them: `[{flow: planar, depth: 4}, {flow: iaf, depth: 2, flow_options: {...}}]`.

    Raises:
        ValueError: without parts, for an unknown name, setting or option, or a value that a part refuses.
    """

    mixed: ClassVar[bool] = True  # each part decides

    def __init__(
        self, features: int, context: int = 0, depth: int = 1, parts: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        super().__init__(features, context, depth)
        if not isinstance(parts, Sequence) or isinstance(parts, str) or not parts:
            raise ValueError(f"parts takes a list such as [{{flow: planar, depth: 4}}, {{flow: iaf}}]; got {parts!r}")
        self.flows = nn.ModuleList(self._make(part) for part in parts)

    def _make(self, part: Mapping[str, Any]) -> Flow:
        if not isinstance(part, Mapping) or "flow" not in part:
            raise ValueError(f"a part names its flow, as in {{flow: planar, depth: 4}}; got {part!r}")
        check_options("part", part["flow"], part, _PART)
        given = {"features": self.features, "context": self.context, "depth": part.get("depth", self.depth)}
        return FLOWS.make(part["flow"], part.get("flow_options"), **given)

    def forward(self, h: Tensor | None = None) -> Chain:  # noqa: D102
        return Chain([flow(h) for flow in self.flows])
