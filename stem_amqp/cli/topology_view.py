"""Exchanges, queues, bindings and policies as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from stem_amqp.cli.output import table
from stem_amqp.topology.entities import Entities
from stem_amqp.topology.names import Names


def entities_view(entities: Entities, names: Names, *, everything: bool) -> Group:
    """Return a table for each kind; that of policies only if there are some.

    Args:
        entities: the compiled topology.
        names: the names in the namespace.
        everything: also the exchanges, queues and bindings that delays are made of.
    """
    delays = set() if everything else _delay_names(names)
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
        hidden = f"and {len(delays)} exchanges and queues that delays are made of: --all"
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


def _delay_names(names: Names) -> set[str]:
    exchanges = {names.after_delay(level) for level in range(1, 8)} | {names.delay_exchange(7)}
    return exchanges | set(names.delay_queues())


def _arguments(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in arguments.items())
