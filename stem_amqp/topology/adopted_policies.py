"""From the policies of a virtual host to those of a topology file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
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
    result = dict(data)
    for policy in policies:
        if not _concerns(policy, entities):
            continue
        section = _SECTIONS[policy.operator]
        for spec in _specs(policy, names):
            name = _written(policy.name, names.namespace)
            tried = result | {section: {**result.get(section, {}), name: spec}}
            if _says(tried, policy, names):
                result = tried
                break
    return result


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


def _specs(policy: Policy, names: Names) -> Iterator[dict[str, Any]]:
    """Yield how a file may say a policy: with {namespace} in its pattern, or word by word."""
    definition = {
        key: duration(value)
        if key in _TIMES and isinstance(value, int)
        else _written(value, names.namespace)
        for key, value in policy.definition.items()
    }
    rest: dict[str, Any] = {"apply_to": policy.apply_to, "definition": definition}
    if policy.priority:
        rest["priority"] = policy.priority
    escaped = f"^{re.escape(names.namespace)}"
    if policy.pattern.startswith((f"{escaped}\\.", f"{escaped}[.]")):
        yield {"pattern": f"^{NAMESPACE}{policy.pattern.removeprefix(escaped)}", **rest}
    yield {"pattern": policy.pattern, **rest}


def _written(value: Any, namespace: str) -> Any:
    prefix = f"{namespace}."
    if isinstance(value, str) and value.startswith(prefix):
        return f"{NAMESPACE}.{value.removeprefix(prefix)}"
    return value


def _says(data: Mapping[str, Any], policy: Policy, names: Names) -> bool:
    """Say whether a file is valid, and has exactly this policy."""
    try:
        topology = Topology.model_validate(data)
    except ValidationError:
        return False
    return policy in written(topology, names)
