"""Checks of breakers: keys that are consistent with those that a queue inherits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from stem_amqp.errors import ConfigurationError
from stem_amqp.topology.spec.mistake import Mistake, Place

if TYPE_CHECKING:
    from stem_amqp.topology.spec.content import Content
    from stem_amqp.topology.spec.queues import QueueSpec


def mistakes(topology: Content) -> Iterator[Mistake]:
    """Yield the breakers whose keys contradict each other."""
    sections: list[tuple[Place, QueueSpec, QueueSpec]] = [
        (("defaults", "breaker"), topology.defaults, topology.queue(""))
    ]
    sections += [
        (("queues", name, "breaker"), own, topology.queue(name))
        for name, own in topology.queues.items()
    ]
    for place, own, merged in sections:
        # an inherited breaker is checked where it is written
        if own.breaker is None or merged.breaker is None:
            continue
        try:
            merged.breaker.breaker()
        except ConfigurationError as error:
            problem, _, remedy = str(error).removeprefix("breaker: ").partition("\n  ")
            yield Mistake(place=place, problem=problem, remedy=f"{remedy}.")
