"""Export a topology as Terraform JSON for the provider ``cyrilgdn/rabbitmq``."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from stem_amqp.topology.entities import Binding, Entities, Exchange, Policy, Queue

PROVIDER = {"source": "cyrilgdn/rabbitmq", "version": "~> 1.8"}
_HASH_LENGTH = 8


def terraform(entities: Entities, virtual_host: str = "/") -> dict[str, Any]:
    """Return the content of a ``.tf.json`` file.

    Queues have ``prevent_destroy``: a plan that would delete one, or recreate it with other arguments,
    fails instead of losing its messages.

    Args:
        entities: the compiled topology.
        virtual_host: the virtual host, which must exist.
    """
    resources: dict[str, dict[str, Any]] = {}
    for kind, items in (
        ("rabbitmq_exchange", {e.name: _exchange(e) for e in entities.exchanges}),
        ("rabbitmq_queue", {q.name: _queue(q) for q in entities.queues}),
        ("rabbitmq_binding", {_title(b): _binding(b, entities) for b in entities.bindings}),
        ("rabbitmq_policy", {p.name: _policy(p) for p in entities.policies if not p.operator}),
        ("rabbitmq_operator_policy", {p.name: _policy(p) for p in entities.policies if p.operator}),
    ):
        if items:
            resources[kind] = {
                label(name): {**_plain(body), "vhost": _literal(virtual_host)}
                for name, body in items.items()
            }
    return {
        "terraform": {"required_providers": {"rabbitmq": dict(PROVIDER)}},
        "resource": resources,
    }


def terraform_text(entities: Entities, virtual_host: str = "/") -> str:
    """Return the ``.tf.json`` file as text; see `terraform`."""
    return json.dumps(terraform(entities, virtual_host), indent=2, ensure_ascii=False) + "\n"


def unrepresentable(entities: Entities) -> list[str]:
    """Return a line for each value that the provider cannot represent unchanged.

    The provider stores the arguments of exchanges and the settings of policies as strings; integers in
    policies become numbers again, all other values remain strings.
    """
    return [
        *(
            f"the exchange {exchange.name} will not be internal"
            for exchange in entities.exchanges
            if exchange.internal
        ),
        *(
            f"argument {name} of the exchange {exchange.name} becomes a string"
            for exchange in entities.exchanges
            for name, value in exchange.arguments.items()
            if not isinstance(value, str)
        ),
        *(
            f"{name} of the policy {policy.name} becomes a string"
            for policy in entities.policies
            for name, value in policy.definition.items()
            if isinstance(value, bool) or not isinstance(value, str | int)
        ),
    ]


def label(name: str) -> str:
    """Return a resource's name for a name on the broker: letters, digits, ``_`` and ``-``.

    If only dots had to be replaced, the name is unambiguous; otherwise a hash of the original is added.
    """
    clean = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    if not re.match(r"[A-Za-z_]", clean):
        clean = "_" + clean
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9.-]*", name):
        return clean
    return f"{clean}_{hashlib.sha256(name.encode()).hexdigest()[:_HASH_LENGTH]}"


def _exchange(exchange: Exchange) -> dict[str, Any]:
    settings: dict[str, Any] = {"type": exchange.type, "durable": True, "auto_delete": False}
    if exchange.arguments:
        settings["arguments"] = dict(exchange.arguments)
    return {"name": exchange.name, "settings": settings}


def _queue(queue: Queue) -> dict[str, Any]:
    return {
        "name": queue.name,
        "settings": {
            "durable": True,
            "auto_delete": False,
            "arguments_json": json.dumps(dict(queue.arguments)),
        },
        "lifecycle": {"prevent_destroy": True},
    }


def _binding(binding: Binding, entities: Entities) -> dict[str, Any]:
    body: dict[str, Any] = {
        "source": binding.source,
        "destination": binding.destination,
        "destination_type": "exchange" if binding.to_exchange else "queue",
        "routing_key": binding.key,
    }
    if binding.arguments:
        body["arguments_json"] = json.dumps(dict(binding.arguments))
    needs = sorted(_needs(binding, entities))
    return body | ({"depends_on": needs} if needs else {})


def _needs(binding: Binding, entities: Entities) -> Iterator[str]:
    """Yield the resources that a binding depends on, without external ones."""
    exchanges: Iterable[str] = {exchange.name for exchange in entities.exchanges}
    if binding.source in exchanges:
        yield f"rabbitmq_exchange.{label(binding.source)}"
    if not binding.to_exchange:
        yield f"rabbitmq_queue.{label(binding.destination)}"
    elif binding.destination in exchanges:
        yield f"rabbitmq_exchange.{label(binding.destination)}"


def _title(binding: Binding) -> str:
    kind = "exchange" if binding.to_exchange else "queue"
    title = f"{binding.source}--{binding.destination}--{kind}--{binding.key}"
    return title + "".join(f"--{name}={value}" for name, value in binding.arguments.items())


def _policy(policy: Policy) -> dict[str, Any]:
    return {
        "name": policy.name,
        "policy": {
            "pattern": policy.pattern,
            "priority": policy.priority,
            "apply_to": policy.apply_to,
            "definition": dict(policy.definition),
        },
    }


def _plain(body: Mapping[str, Any]) -> dict[str, Any]:
    """Escape ``${`` and ``%{`` in strings, which Terraform would evaluate."""
    return {name: _literal(value) for name, value in body.items()}


def _literal(value: Any) -> Any:
    if isinstance(value, str):
        return re.sub(r"([$%])\{", r"\1\1{", value)
    if isinstance(value, Mapping):
        return {_literal(name): _literal(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_literal(inner) for inner in value]
    return value
