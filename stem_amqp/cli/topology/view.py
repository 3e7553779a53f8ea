"""Output of exchanges, queues, bindings and policies as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from stem_amqp.cli.output import table
from stem_amqp.topology.entities import Entities
from stem_amqp.topology.names import Names


def counts_of(entities: Entities) -> str:
    """Return how many exchanges, queues and bindings there are, as words."""
    return (
        f"{len(entities.exchanges)} exchanges, {len(entities.queues)} queues,"
        f" {len(entities.bindings)} bindings"
    )


def entities_view(entities: Entities, names: Names, *, everything: bool) -> Group:
    """Return a table for each kind; policies only if there are some.

    Args:
        entities: the compiled topology.
        names: the names in the namespace.
        everything: whether to include the delay exchanges, queues and bindings.
    """
    delays = set() if everything else names.delay_parts()
    exchanges = table("exchange", "type", "arguments", whole=("exchange", "type"))
    for exchange in entities.exchanges:
        if exchange.name not in delays:
            exchanges.add_row(exchange.name, exchange.type, _arguments(exchange.arguments))
    queues = table("queue", "arguments", whole=("queue",))
    for queue in entities.queues:
        if queue.name not in delays:
            queues.add_row(queue.name, _arguments(queue.arguments))
    bindings = table("from", "key", "to", whole=("from",))
    for binding in entities.bindings:
        if not delays.intersection((binding.source, binding.destination)):
            kind = " (exchange)" if binding.to_exchange else ""
            key = binding.key or _arguments(binding.arguments)
            bindings.add_row(binding.source, key, binding.destination + kind)
    parts: list[RenderableType] = [exchanges, "", queues, "", bindings]
    if entities.policies:
        parts += ["", _policies(entities)]
    if delays:
        hidden = f"and {len(delays)} exchanges and queues of the delays: --all"
        parts += ["", Text(hidden, style="dim")]
    return Group(*parts)


def _policies(entities: Entities) -> RenderableType:
    rows = table("policy", "pattern", "sets", whole=("policy", "pattern"))
    for policy in entities.policies:
        kind = " (operator)" if policy.operator else ""
        fits = (
            policy.pattern if policy.apply_to == "queues" else f"{policy.pattern} {policy.apply_to}"
        )
        priority = f"priority {policy.priority}, " if policy.priority else ""
        rows.add_row(policy.name + kind, fits, priority + _arguments(policy.definition))
    return rows


def _arguments(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in arguments.items())
