"""Convert the arguments of a work queue and its dead-letter queue to keys of a topology file."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from stem_amqp.topology.entities import Queue
from stem_amqp.topology.spec.base import Spec
from stem_amqp.topology.spec.queues import DeadLetterSpec, QueueSpec

_MILLISECONDS = (
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
)


def queue_keys(work: Queue, dlq: Queue | None) -> dict[str, Any]:
    """Return the keys of a logical queue that differ from the defaults of a file.

    Args:
        work: its work queue on the broker.
        dlq: its dead-letter queue on the broker, if any.
    """
    default = QueueSpec()
    arguments = work.arguments
    keys: dict[str, Any] = {"type": arguments.get("x-queue-type", "classic")}
    if keys["type"] == "quorum" and _positive(arguments.get("x-delivery-limit")):
        keys["delivery_limit"] = arguments["x-delivery-limit"]
    if keys["type"] == "classic" and _positive(arguments.get("x-max-priority")):
        keys["priority"] = arguments["x-max-priority"]
    if _positive(arguments.get("x-message-ttl")):
        keys["ttl"] = duration(arguments["x-message-ttl"])
    if _positive(arguments.get("x-max-length")):
        keys["max_length"] = arguments["x-max-length"]
    if arguments.get("x-single-active-consumer") is True:
        keys["single_active_consumer"] = True
    keys = {name: value for name, value in keys.items() if getattr(default, name) != value}
    keys = {name: value for name, value in keys.items() if _takes(QueueSpec, name, value)}
    kept = {} if dlq is None else _dead_letter_keys(dlq)
    return keys | ({"dead_letter": kept} if kept else {})


def _dead_letter_keys(dlq: Queue) -> dict[str, Any]:
    default, arguments = QueueSpec().dead_letter, dlq.arguments
    keys: dict[str, Any] = {
        "max_length": arguments.get("x-max-length"),
        "max_length_bytes": arguments.get("x-max-length-bytes"),
    }
    if any(keys.values()) and arguments.get("x-overflow", "drop-head") == "drop-head":
        keys["overflow"] = "drop-oldest"
    if _positive(arguments.get("x-message-ttl")):
        keys["ttl"] = duration(arguments["x-message-ttl"])
    return {
        name: value
        for name, value in keys.items()
        if getattr(default, name) != value and _takes(DeadLetterSpec, name, value)
    }


def _takes(spec: type[Spec], name: str, value: Any) -> bool:
    """Return whether a value is valid in a file; RabbitMQ accepts values outside of the file's range."""
    try:
        spec.model_validate({name: value})
    except ValidationError:
        return False
    return True


def duration(milliseconds: int) -> str:
    """Format a duration exactly, as in a file: ``90m``, ``1500ms``."""
    for unit, size in _MILLISECONDS:
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def _positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
