"""Read RabbitMQ definitions from a file or a response of the management API."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stem_amqp.errors import ConfigurationError
from stem_amqp.topology.entities import (
    Binding,
    Entities,
    Exchange,
    Policy,
    Queue,
)
from stem_amqp.topology.policies import OPERATOR_POLICY
from stem_amqp.topology.spec.values import EXCHANGE_KINDS

_EXPORT = (
    "Export one in the management UI (Overview, Export definitions) or with rabbitmqctl"
    " export_definitions FILE."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Existing:
    """The existing entities of a virtual host.

    Args:
        entities: its durable exchanges and queues, its bindings and policies.
        others: entities that a topology cannot represent, as ``exchange NAME`` or ``queue NAME``, with
            the reason.
    """

    entities: Entities
    others: Mapping[str, str]


def read_definitions(text: str, virtual_host: str | None = None, file: str = "") -> Existing:
    """Read a definitions file, of a whole broker or of one virtual host.

    Args:
        text: the JSON.
        virtual_host: the virtual host; needed only if the file has several.
        file: its name in error messages.

    Raises:
        ConfigurationError: it is not a definitions file, or has several virtual hosts.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{file} is not JSON: {error}\n  {_EXPORT}") from None
    if not isinstance(document, dict) or not {"exchanges", "queues", "bindings"} & document.keys():
        raise ConfigurationError(
            f"{file} is not a definitions file: it has no exchanges, queues or bindings\n  {_EXPORT}"
        )
    try:
        return existing_of(_of_one(document, virtual_host, file))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"{file} is not a definitions file of RabbitMQ: {error!r}\n  {_EXPORT}"
        ) from None


def existing_of(document: Mapping[str, Any]) -> Existing:
    """Return the entities in the definitions of one virtual host.

    Args:
        document: lists of ``exchanges``, ``queues``, ``bindings``, ``policies``, ``parameters``.
    """
    others: dict[str, str] = {}
    exchanges = [e for e in document.get("exchanges", ()) if _is_supported(e, "exchange", others)]
    queues = [q for q in document.get("queues", ()) if _is_supported(q, "queue", others)]
    return Existing(
        entities=Entities(
            exchanges=tuple(
                Exchange(
                    name=e["name"],
                    type=e["type"],
                    arguments=e.get("arguments", {}),
                    internal=e.get("internal", False),
                )
                for e in exchanges
            ),
            queues=tuple(Queue(name=q["name"], arguments=_arguments(q)) for q in queues),
            bindings=tuple(map(_binding, document.get("bindings", ()))),
            policies=tuple(_policies(document)),
        ),
        others=others,
    )


def _of_one(document: dict[str, Any], wanted: str | None, file: str) -> dict[str, Any]:
    sections = ("exchanges", "queues", "bindings", "policies", "parameters")
    named = {
        item["vhost"]
        for section in sections
        for item in document.get(section, ())
        if "vhost" in item
    }
    named |= {host["name"] for host in document.get("vhosts", ())}
    if wanted is None and len(named) > 1:
        raise ConfigurationError(
            f"{file} has several virtual hosts: {', '.join(sorted(named))}\n"
            "  Choose one: --vhost NAME."
        )
    if wanted is not None and named and wanted not in named:
        raise ConfigurationError(
            f"{file} has no virtual host {wanted}\n  It has: {', '.join(sorted(named))}."
        )
    return {
        section: [
            item
            for item in document.get(section, ())
            if wanted is None or item.get("vhost", wanted) == wanted
        ]
        for section in sections
    }


def _is_supported(item: Mapping[str, Any], kind: str, others: dict[str, str]) -> bool:
    """Return whether a topology can represent an exchange or queue; otherwise store the reason."""
    if not item.get("durable", True):
        why = "is not durable"
    elif item.get("auto_delete"):
        why = "is deleted with its last user"
    elif kind == "exchange" and item["type"] not in EXCHANGE_KINDS:
        why = f"has the type {item['type']}"
    else:
        return True
    others[f"{kind} {item['name']}"] = why
    return False


def _arguments(queue: Mapping[str, Any]) -> dict[str, Any]:
    arguments = dict(queue.get("arguments", {}))
    # if the virtual host's default applied, the type is a field of its own
    arguments.setdefault("x-queue-type", queue.get("type", "classic"))
    return arguments


def _binding(item: Mapping[str, Any]) -> Binding:
    return Binding(
        source=item["source"],
        destination=item["destination"],
        key=item.get("routing_key", ""),
        to_exchange=item["destination_type"] == "exchange",
        arguments=item.get("arguments", {}),
    )


def _policies(document: Mapping[str, Any]) -> Iterator[Policy]:
    for item in document.get("policies", ()):
        yield _policy(item["name"], item, operator=False)
    for item in document.get("parameters", ()):
        if item.get("component") == OPERATOR_POLICY:
            yield _policy(item["name"], item["value"], operator=True)


def _policy(name: str, item: Mapping[str, Any], *, operator: bool) -> Policy:
    return Policy(
        name=name,
        pattern=item["pattern"],
        apply_to=item.get("apply-to", "all"),
        definition=item["definition"],
        priority=item.get("priority", 0),
        operator=operator,
    )
