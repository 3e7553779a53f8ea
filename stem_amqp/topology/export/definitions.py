"""Export a topology as a RabbitMQ definitions file, which the broker can import."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from stem_amqp.topology.entities import Binding, Entities, Exchange, Policy, Queue
from stem_amqp.topology.policies import OPERATOR_POLICY


def definitions(entities: Entities, virtual_host: str | None = None) -> dict[str, Any]:
    """Return the content of ``definitions.json``.

    Args:
        entities: the compiled topology.
        virtual_host: None writes the form for one virtual host, which the management UI and
            ``POST /api/definitions/{vhost}`` import into a given virtual host. A name writes the
            form for a whole broker, for ``rabbitmqctl import_definitions``. The virtual host itself
            is not included: importing it would change its description and default queue type.
    """
    placed = {} if virtual_host is None else {"vhost": virtual_host}

    def place(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        return [item | placed for item in items]

    return {
        "exchanges": place(map(_exchange, entities.exchanges)),
        "queues": place(map(_queue, entities.queues)),
        "bindings": place(map(_binding, entities.bindings)),
        "policies": place(_policy(p) for p in entities.policies if not p.operator),
        "parameters": place(_operator_policy(p) for p in entities.policies if p.operator),
    }


def definitions_text(entities: Entities, virtual_host: str | None = None) -> str:
    """Return ``definitions.json`` as text; see `definitions`."""
    return json.dumps(definitions(entities, virtual_host), indent=2, ensure_ascii=False) + "\n"


def _exchange(exchange: Exchange) -> dict[str, Any]:
    return {
        "name": exchange.name,
        "type": exchange.type,
        "durable": True,
        "auto_delete": False,
        "internal": exchange.internal,
        "arguments": dict(exchange.arguments),
    }


def _queue(queue: Queue) -> dict[str, Any]:
    return {
        "name": queue.name,
        "durable": True,
        "auto_delete": False,
        "arguments": dict(queue.arguments),
    }


def _binding(binding: Binding) -> dict[str, Any]:
    return {
        "source": binding.source,
        "destination": binding.destination,
        "destination_type": "exchange" if binding.to_exchange else "queue",
        "routing_key": binding.key,
        "arguments": dict(binding.arguments),
    }


def _policy(policy: Policy) -> dict[str, Any]:
    return {"name": policy.name, **_settings(policy)}


def _operator_policy(policy: Policy) -> dict[str, Any]:
    return {"component": OPERATOR_POLICY, "name": policy.name, "value": _settings(policy)}


def _settings(policy: Policy) -> Mapping[str, Any]:
    return {
        "pattern": policy.pattern,
        "apply-to": policy.apply_to,
        "definition": dict(policy.definition),
        "priority": policy.priority,
    }
