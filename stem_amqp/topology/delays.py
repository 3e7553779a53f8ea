"""The exchanges, queues and bindings of delays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stem_amqp.delay import LEVELS, binding_key, ttl_ms
from stem_amqp.topology.entities import Binding, Entities, Exchange, Queue
from stem_amqp.topology.extra_queues import UNLIMITED
from stem_amqp.topology.names import Names

AT_LEAST_ONCE = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
"""At-least-once dead-lettering; with another overflow, RabbitMQ silently uses at-most-once."""


def delays(names: Names) -> Entities:
    """Return an exchange for each digit of a delay, a queue for each of its values, and their bindings.

    Args:
        names: the names in the namespace; `FormerNames` for the delays of earlier releases.
    """
    return Entities(
        exchanges=tuple(
            Exchange(name=names.delay_exchange(level), type="topic") for level in range(LEVELS)
        ),
        queues=tuple(_queues(names)),
        bindings=tuple(_bindings(names)),
    )


def parking() -> dict[str, Any]:
    """Return the arguments of a queue whose messages must not be lost by browsing."""
    return {"x-queue-type": "quorum", "x-delivery-limit": UNLIMITED}


def _queues(names: Names) -> Iterator[Queue]:
    for level in range(LEVELS):
        for digit in range(1, 10):
            arguments = parking() | {
                "x-message-ttl": ttl_ms(level, digit),
                "x-dead-letter-exchange": names.after_delay(level),
                **AT_LEAST_ONCE,
            }
            yield Queue(name=names.delay_queue(level, digit), arguments=arguments)


def _bindings(names: Names) -> Iterator[Binding]:
    for level in range(LEVELS):
        source = names.delay_exchange(level)
        for digit in range(1, 10):
            queue = names.delay_queue(level, digit)
            yield Binding(source=source, destination=queue, key=binding_key(level, digit))
        # the digit 0 passes to the next exchange without a wait
        yield Binding(
            source=source,
            destination=names.after_delay(level),
            key=binding_key(level, 0),
            to_exchange=True,
        )
