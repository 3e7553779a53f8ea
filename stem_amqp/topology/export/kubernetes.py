"""Export a topology as manifests for RabbitMQ's messaging topology operator for Kubernetes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from stem_amqp.topology.entities import Binding, Entities, Exchange, Policy, Queue

API_VERSION = "rabbitmq.com/v1beta1"
_NAME_LENGTH = 253
"""The longest name of an object in Kubernetes, a DNS subdomain."""
_HASH_LENGTH = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """The cluster in which the operator declares the entities.

    Args:
        cluster: the name of the ``RabbitmqCluster``.
        cluster_namespace: its Kubernetes namespace; None means that of the manifests.
        virtual_host: the virtual host.
    """

    cluster: str
    cluster_namespace: str | None = None
    virtual_host: str = "/"

    def reference(self) -> dict[str, str]:
        """Return the ``rabbitmqClusterReference``."""
        where = {} if self.cluster_namespace is None else {"namespace": self.cluster_namespace}
        return {"name": self.cluster, **where}


def manifests(entities: Entities, target: Target) -> list[dict[str, Any]]:
    """Return the objects in the order in which they can be applied.

    Deleting a queue's object keeps the queue and its messages on the broker
    (``deletionPolicy: retain``). The operator has no such policy for exchanges and bindings.

    Args:
        entities: the compiled topology.
        target: the cluster and the virtual host.
    """
    return [
        *(_manifest("Exchange", e.name, _exchange(e), target) for e in entities.exchanges),
        *(_manifest("Queue", q.name, _queue(q), target) for q in entities.queues),
        *(_manifest("Binding", _title(b), _binding(b), target) for b in entities.bindings),
        *_policies(entities, target),
    ]


def manifests_text(entities: Entities, target: Target) -> str:
    """Return the manifests as one YAML stream; see `manifests`."""
    return yaml.safe_dump_all(
        manifests(entities, target), explicit_start=True, sort_keys=False, allow_unicode=True
    )


def object_name(name: str) -> str:
    """Return a unique name that is valid in Kubernetes.

    A valid name is returned unchanged. Any other name gets a hash of the original as a suffix, so that
    ``Orders`` and ``orders`` remain different.
    """
    words = re.sub(r"[^a-z0-9.-]+", "-", name.lower())
    # each part between dots must begin and end with a letter or digit
    clean = ".".join(part for part in (word.strip("-") for word in words.split(".")) if part)
    if clean == name and len(name) <= _NAME_LENGTH:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH_LENGTH]
    head = clean[: _NAME_LENGTH - _HASH_LENGTH - 1].rstrip(".-")
    return f"{head}-{digest}" if head else f"x-{digest}"


def _manifest(kind: str, name: str, spec: Mapping[str, Any], target: Target) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": object_name(name)},
        "spec": {
            **spec,
            "vhost": target.virtual_host,
            "rabbitmqClusterReference": target.reference(),
        },
    }


def _exchange(exchange: Exchange) -> dict[str, Any]:
    return {
        "name": exchange.name,
        "type": exchange.type,
        "durable": True,
        "autoDelete": False,
        **_arguments(exchange.arguments),
    }


def _queue(queue: Queue) -> dict[str, Any]:
    others = {name: value for name, value in queue.arguments.items() if name != "x-queue-type"}
    return {
        "name": queue.name,
        # the operator turns it into x-queue-type
        "type": queue.arguments.get("x-queue-type", "classic"),
        "durable": True,
        "autoDelete": False,
        "deletionPolicy": "retain",
        **_arguments(others),
    }


def _binding(binding: Binding) -> dict[str, Any]:
    return {
        "source": binding.source,
        "destination": binding.destination,
        "destinationType": "exchange" if binding.to_exchange else "queue",
        "routingKey": binding.key,
        **_arguments(binding.arguments),
    }


def _title(binding: Binding) -> str:
    """Return the title of a binding's object; its star makes `object_name` add a hash."""
    kind = "exchange" if binding.to_exchange else "queue"
    title = f"{binding.source}--{binding.destination}--{kind}--{binding.key}"
    if binding.arguments:
        title += "--" + str(sorted(binding.arguments.items()))
    return title + "*"


def _policies(entities: Entities, target: Target) -> Iterator[dict[str, Any]]:
    for policy in entities.policies:
        kind = "OperatorPolicy" if policy.operator else "Policy"
        yield _manifest(kind, policy.name, _policy(policy), target)


def _policy(policy: Policy) -> dict[str, Any]:
    return {
        "name": policy.name,
        "pattern": policy.pattern,
        "applyTo": policy.apply_to,
        "priority": policy.priority,
        "definition": dict(policy.definition),
    }


def _arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"arguments": dict(arguments)} if arguments else {}
