"""Convert the policies of a virtual host to policies of a topology file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from stem_amqp.topology.adopt.queue import duration
from stem_amqp.topology.entities import Entities, Policy
from stem_amqp.topology.model import Topology
from stem_amqp.topology.name_pattern import SlowPatternError, found, pattern_problem
from stem_amqp.topology.names import Names
from stem_amqp.topology.policies import written
from stem_amqp.topology.spec.values import NAMESPACE

_SECTIONS = {False: "policies", True: "operator_policies"}
_TIMES = {
    "message-ttl",
    "expires",
    "consumer-timeout",
    "delayed-retry-min",
    "delayed-retry-max",
}
"""The keys whose values RabbitMQ has in milliseconds."""


def with_policies(
    data: Mapping[str, Any], policies: Iterable[Policy], entities: Entities, names: Names
) -> dict[str, Any]:
    """Add the policies for a file's queues and exchanges, as far as a file can represent them.

    Args:
        data: the file's content.
        policies: all policies of the virtual host.
        entities: the entities that the file declares.
        names: the names in its namespace.

    Returns:
        The content with the policies. A policy that would not be exactly the same is left out.
    """
    return _with(dict(data), [one for one in policies if _concerns(one, entities)], names)


def _with(data: dict[str, Any], policies: Sequence[Policy], names: Names) -> dict[str, Any]:
    """Add all policies at once if the result is exact, else each half separately: a check is slow."""
    if not policies:
        return data
    tried = data | {
        section: {**data.get(section, {}), **added}
        for operator, section in _SECTIONS.items()
        if (added := dict(_spec(one, names) for one in policies if one.operator is operator))
    }
    if _is_exact(tried, policies, names):
        return tried
    if len(policies) == 1:
        return data
    half = len(policies) // 2
    return _with(_with(data, policies[:half], names), policies[half:], names)


def _concerns(policy: Policy, entities: Entities) -> bool:
    """Return whether a policy matches an entity of the file. Python's expressions nearly equal RabbitMQ's."""
    if pattern_problem(policy.pattern) is not None:
        return False
    named = [queue.name for queue in entities.queues]
    if policy.apply_to in {"all", "exchanges"}:
        named += [exchange.name for exchange in entities.exchanges]
    if policy.apply_to == "exchanges":
        named = [exchange.name for exchange in entities.exchanges]
    try:
        return any(found(policy.pattern, name) for name in named)
    except SlowPatternError:
        return False  # a topology file would refuse it as well


def _spec(policy: Policy, names: Names) -> tuple[str, dict[str, Any]]:
    """Return the name and content of a policy as written in a file, with {namespace} where possible."""
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


def _is_exact(data: Mapping[str, Any], policies: Iterable[Policy], names: Names) -> bool:
    """Return whether a file is valid and has exactly these policies."""
    try:
        topology = Topology.model_validate(data)
    except ValidationError:
        return False
    found_policies = {(one.operator, one.name): one for one in written(topology, names)}
    return all(found_policies.get((one.operator, one.name)) == one for one in policies)
