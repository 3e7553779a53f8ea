"""Compile policies: from the file, and from queue settings; compute the settings in force."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from stem_amqp.errors import TopologyError
from stem_amqp.topology.entities import Policy, Queue
from stem_amqp.topology.name_pattern import SlowPatternError, found
from stem_amqp.topology.names import Names
from stem_amqp.topology.spec.mistake import dotted, shown
from stem_amqp.topology.spec.values import NAMESPACE

if TYPE_CHECKING:
    from stem_amqp.topology.spec.content import Content
    from stem_amqp.topology.spec.policies import PolicySpec

OPERATOR_POLICY = "operator_policy"
"""The component of operator policies among the parameters of a definitions file."""
_CHANGEABLE = frozenset(
    {
        "message-ttl",
        "max-length",
        "max-length-bytes",
        "max-age",
        "overflow",
        "delivery-limit",
        "dead-letter-exchange",
        "dead-letter-routing-key",
        "dead-letter-strategy",
        "consumer-timeout",
        "delayed-retry-type",
        "delayed-retry-min",
        "delayed-retry-max",
    }
)
"""The settings that RabbitMQ accepts in a policy as well as in an argument, by the policy's key."""
_TYPES = {"classic_queues": "classic", "quorum_queues": "quorum", "streams": "stream"}


def split(queue: Queue) -> tuple[Queue, Policy | None]:
    """Split a queue's arguments into fixed ones and a policy with the changeable ones.

    Args:
        queue: the queue with all its arguments.

    Returns:
        The queue with the fixed arguments, and a policy for this queue with all others, or None if
        there are none. It is a single policy, since RabbitMQ applies only one.
    """
    fixed: dict[str, Any] = {}
    changeable: dict[str, Any] = {}
    for name, value in queue.arguments.items():
        key = name.removeprefix("x-")
        (changeable if key in _CHANGEABLE else fixed)[key if key in _CHANGEABLE else name] = value
    if not changeable:
        return queue, None
    policy = Policy(name=queue.name, pattern=exactly(queue.name), definition=changeable)
    return dataclasses.replace(queue, arguments=fixed), policy


def changeable(argument: str) -> bool:
    """Return whether a policy can set the same as an argument of a queue."""
    return argument.startswith("x-") and argument.removeprefix("x-") in _CHANGEABLE


def exactly(name: str) -> str:
    """Return the pattern that matches exactly one name."""
    return f"^{re.escape(name)}$"


def written(topology: Content, names: Names) -> Iterator[Policy]:
    """Yield the policies of the file for a namespace."""
    for specs, operator in ((topology.policies, False), (topology.operator_policies, True)):
        for name, spec in specs.items():
            yield Policy(
                name=name.replace(NAMESPACE, names.namespace),
                pattern=pattern(spec, names),
                apply_to=spec.apply_to,
                definition={
                    key: filled(value, names) for key, value in spec.definition.values().items()
                },
                priority=spec.priority,
                operator=operator,
            )


def pattern(spec: PolicySpec, names: Names) -> str:
    """Return a policy's pattern with the escaped namespace."""
    return spec.pattern.replace(NAMESPACE, re.escape(names.namespace))


def filled(value: Any, names: Names) -> Any:
    """Replace the placeholder of the namespace in a string; other values are returned unchanged."""
    return value.replace(NAMESPACE, names.namespace) if isinstance(value, str) else value


def fits(spec: PolicySpec, name: str, names: Names, kind: str) -> bool:
    """Return whether a policy of the file matches a queue.

    Args:
        spec: the policy.
        name: the queue's name on the broker.
        names: the namespace to put into the pattern.
        kind: the queue's type.
    """
    return _matches(pattern(spec, names), spec.apply_to, name, kind)


def applied(policies: Iterable[Policy], name: str, kind: str) -> tuple[Policy, ...]:
    """Return the policies that RabbitMQ applies to a queue: one, and one operator policy.

    Args:
        policies: all policies.
        name: the queue's name.
        kind: the queue's type.
    """
    best: dict[bool, Policy] = {}
    for policy in policies:
        rival = best.get(policy.operator)
        higher = rival is None or policy.priority > rival.priority
        if higher and matches(policy, name, kind):
            best[policy.operator] = policy
    return tuple(best.values())


def effective(queue: Queue, policies: Iterable[Policy]) -> dict[str, Any]:
    """Return the settings in force for a queue, as arguments.

    Of two numbers the lower one applies. Otherwise an operator policy takes precedence over a user policy,
    and the queue's argument over a policy, except for a quorum queue's overflow.

    Args:
        queue: the queue.
        policies: all policies.
    """
    kind = str(queue.arguments.get("x-queue-type", "classic"))
    forced: dict[str, Any] = {}
    for policy in sorted(applied(policies, queue.name, kind), key=lambda p: p.operator):
        for key, value in policy.definition.items():
            known = forced.get(f"x-{key}")
            forced[f"x-{key}"] = min(known, value) if _both_numbers(known, value) else value
    result = dict(queue.arguments)
    for name, value in forced.items():
        known = result.get(name)
        if known is None or (name == "x-overflow" and kind == "quorum"):
            result[name] = value
        elif _both_numbers(known, value):
            result[name] = min(known, value)
    return result


def _both_numbers(one: Any, other: Any) -> bool:
    return isinstance(one, int) and isinstance(other, int)


def matches(policy: Policy, name: str, kind: str) -> bool:
    """Return whether a policy matches a queue's name and type.

    Args:
        policy: the policy.
        name: the queue's name.
        kind: the queue's type.
    """
    return _matches(policy.pattern, policy.apply_to, name, kind)


def fits_name(policy: Policy, name: str) -> bool:
    """Return whether a policy's pattern matches a name of any entity.

    Args:
        policy: the policy.
        name: a name on the broker.

    Raises:
        TopologyError: the match takes too long.
    """
    return _matches(policy.pattern, "all", name, "")


def _matches(regex: str, apply_to: str, name: str, kind: str) -> bool:
    if apply_to == "exchanges" or _TYPES.get(apply_to, kind) != kind:
        return False
    try:
        return found(regex, name)
    except SlowPatternError as error:
        raise _slow(regex, error) from None


def _slow(regex: str, error: SlowPatternError) -> TopologyError:
    return TopologyError(
        f"a policy's pattern, {shown(regex)}, {error}",
        remedy="RabbitMQ aborts the match, and the policy applies to nothing. Avoid nested repeats: write"
        r" for example '^stem\.[a-z.]+$' instead of '^stem\.([a-z]+\.?)+$'.",
    )


def refuse_clashes(
    topology: Content, names: Names, generated: Iterable[Policy], kinds: Mapping[str, str]
) -> None:
    """Refuse a policy of the file that would override a generated one.

    Args:
        topology: the topology.
        names: the names in the namespace.
        generated: the policies that hold queue settings.
        kinds: the type of each queue by its name.

    Raises:
        TopologyError: a policy would override a generated one.
    """
    for own in generated:
        for name, spec in topology.policies.items():
            same = name.replace(NAMESPACE, names.namespace) == own.name
            if same or fits(spec, own.name, names, kinds[own.name]):
                raise TopologyError(
                    f"the policy matches {own.name}, which has a policy of stem-amqp; RabbitMQ"
                    " applies only one of them",
                    key=dotted(("policies", name)),
                    remedy="Narrow the pattern, or choose another name; put the queue's settings"
                    " under queues.",
                )
