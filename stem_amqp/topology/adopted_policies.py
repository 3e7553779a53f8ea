"""From the policies of a virtual host to those of a topology file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from stem_amqp.topology.adopted_queue import duration
from stem_amqp.topology.entities import Entities, Policy
from stem_amqp.topology.model import Topology
from stem_amqp.topology.names import Names
from stem_amqp.topology.policies import written
from stem_amqp.topology.values import NAMESPACE

_SECTIONS = {False: "policies", True: "operator_policies"}
_TIMES = {
    "message-ttl",
    "expires",
    "consumer-timeout",
    "delayed-retry-min",
    "delayed-retry-max",
}
"""What RabbitMQ has in milliseconds."""


def with_policies(
    data: Mapping[str, Any], policies: Iterable[Policy], entities: Entities, names: Names
) -> dict[str, Any]:
    """Add to a file the policies for its queues and exchanges, as far as a file can say them.

    Args:
        data: the file's content.
        policies: all of the virtual host.
        entities: what the file declares.
        names: the names in its namespace.

    Returns:
        The content with them. A policy that would not come out exactly the same is left out.
    """
    return _with(dict(data), [one for one in policies if _concerns(one, entities)], names)


def _with(data: dict[str, Any], policies: Sequence[Policy], names: Names) -> dict[str, Any]:
    """Add all at once where that is right, else each half by itself: checking a file takes long."""
    if not policies:
        return data
    tried = data | {
        section: {**data.get(section, {}), **added}
        for operator, section in _SECTIONS.items()
        if (added := dict(_spec(one, names) for one in policies if one.operator is operator))
    }
    if _says(tried, policies, names):
        return tried
    if len(policies) == 1:
        return data
    half = len(policies) // 2
    return _with(_with(data, policies[:half], names), policies[half:], names)


def _concerns(policy: Policy, entities: Entities) -> bool:
    """Say whether a policy is for anything in the file; RabbitMQ's expressions are nearly Python's."""
    try:
        pattern = re.compile(policy.pattern)
    except re.error:
        return False
    named = [queue.name for queue in entities.queues]
    if policy.apply_to in {"all", "exchanges"}:
        named += [exchange.name for exchange in entities.exchanges]
    if policy.apply_to == "exchanges":
        named = [exchange.name for exchange in entities.exchanges]
    return any(map(pattern.search, named))


def _spec(policy: Policy, names: Names) -> tuple[str, dict[str, Any]]:
    """Return the name and the content of a policy as a file says them, {namespace} where it can be."""
    definition = {
        key: duration(value)
        if key in _TIMES and isinstance(value, int)
        else _written(value, names.namespace)
        for key, value in policy.definition.items()
    }
    pattern = policy.pattern
    escaped = f"^{re.escape(names.namespace)}"
    if pattern.startswith((f"{escaped}\\.", f"{escaped}[.]")):
        pattern = f"^{NAMESPACE}{pattern.removeprefix(escaped)}"
    spec: dict[str, Any] = {
        "pattern": pattern,
        "apply_to": policy.apply_to,
        "definition": definition,
    }
    if policy.priority:
        spec["priority"] = policy.priority
    return _written(policy.name, names.namespace), spec


def _written(value: Any, namespace: str) -> Any:
    prefix = f"{namespace}."
    if isinstance(value, str) and value.startswith(prefix):
        return f"{NAMESPACE}.{value.removeprefix(prefix)}"
    return value


def _says(data: Mapping[str, Any], policies: Iterable[Policy], names: Names) -> bool:
    """Say whether a file is valid, and has exactly these policies."""
    try:
        topology = Topology.model_validate(data)
    except ValidationError:
        return False
    said = {(one.operator, one.name): one for one in written(topology, names)}
    return all(said.get((one.operator, one.name)) == one for one in policies)
