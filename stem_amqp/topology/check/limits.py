"""Checks of the limits of queues: the names under ``limits`` must exist."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from stem_amqp.topology.spec.mistake import Mistake, Place, did_you_mean, shown

if TYPE_CHECKING:
    from stem_amqp.topology.spec.content import Content
    from stem_amqp.topology.spec.queues import QueueSpec


def mistakes(topology: Content) -> list[Mistake]:
    """Return the mistakes in the limits of queues."""
    sections: list[tuple[Place, QueueSpec]] = [(("defaults",), topology.defaults)]
    sections += [(("queues", name), spec) for name, spec in topology.queues.items()]
    return [one for place, spec in sections for one in _names(topology, place, spec)]


def _names(topology: Content, place: Place, spec: QueueSpec) -> Iterator[Mistake]:
    seen: set[object] = set()
    for index, entry in enumerate(spec.limits):
        here = (*place, "limits", index)
        if entry in seen:
            yield Mistake(
                place=here,
                problem=f"{shown(str(entry))} is listed twice",
                remedy="Remove one of them.",
            )
        seen.add(entry)
        if isinstance(entry, str) and "/" not in entry and entry not in topology.limits:
            yield Mistake(
                place=here,
                problem=f"there is no limit {shown(entry)}{did_you_mean(entry, topology.limits)}",
                remedy="Add it under limits, or write its keys here: {rate: 10/s}.",
            )
