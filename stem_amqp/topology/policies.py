"""From the file's policies, and from queues' settings, to policies on the broker."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from stem_amqp.errors import TopologyError
from stem_amqp.topology.entities import Policy, Queue
from stem_amqp.topology.mistake import dotted
from stem_amqp.topology.names import Names
from stem_amqp.topology.values import NAMESPACE

if TYPE_CHECKING:
    from stem_amqp.topology.model import Topology
    from stem_amqp.topology.policy_spec import PolicySpec

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
"""What RabbitMQ takes from a policy as well as from an argument, by the policy's key."""
_TYPES = {"classic_queues": "classic", "quorum_queues": "quorum", "streams": "stream"}


def split(queue: Queue) -> tuple[Queue, Policy | None]:
    """Take out of a queue's arguments what can be changed at run time.

    Args:
        queue: the queue with all its arguments.

    Returns:
        The queue with the arguments that never change, and a policy for it alone with the others;
        None if there are no others. The policy has everything: RabbitMQ applies only one.
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
    """Say whether RabbitMQ takes from a policy what an argument of a queue sets."""
    return argument.startswith("x-") and argument.removeprefix("x-") in _CHANGEABLE


def exactly(name: str) -> str:
    """Return the pattern that fits one name alone."""
    return f"^{re.escape(name)}$"


def written(topology: Topology, names: Names) -> Iterator[Policy]:
    """Yield the policies that the file has, for a namespace."""
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
    """Return a policy's pattern with the namespace in it, escaped."""
    return spec.pattern.replace(NAMESPACE, re.escape(names.namespace))


def filled(value: Any, names: Names) -> Any:
    """Put the namespace into a text."""
    return value.replace(NAMESPACE, names.namespace) if isinstance(value, str) else value


def fits(spec: PolicySpec, name: str, names: Names, kind: str) -> bool:
    """Say whether a policy of the file would be applied to a queue.

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
        policies: all that there are.
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
    """Return what is in force for a queue, as arguments.

    Of two numbers the lower one counts, an operator's word before a user's, and otherwise the
    queue's own argument before a policy; but to a quorum queue a policy says what happens at a limit.

    Args:
        queue: the queue.
        policies: all that there are.
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
    """Say whether a policy fits a queue's name and type.

    Args:
        policy: the policy.
        name: the queue's name.
        kind: the queue's type.
    """
    return _matches(policy.pattern, policy.apply_to, name, kind)


def _matches(regex: str, apply_to: str, name: str, kind: str) -> bool:
    if apply_to == "exchanges" or _TYPES.get(apply_to, kind) != kind:
        return False
    return re.search(regex, name) is not None


def refuse_clashes(
    topology: Topology, names: Names, generated: Iterable[Policy], kinds: Mapping[str, str]
) -> None:
    """Refuse a policy of the file that would take the place of a generated one.

    Args:
        topology: the topology.
        names: the names in the namespace.
        generated: the policies that queues' settings are in.
        kinds: the type of each queue by its name.

    Raises:
        TopologyError: one would.
    """
    for own in generated:
        for name, spec in topology.policies.items():
            same = name.replace(NAMESPACE, names.namespace) == own.name
            if same or fits(spec, own.name, names, kinds[own.name]):
                raise TopologyError(
                    f"the policy fits {own.name}, which has a policy of stem-amqp's own; RabbitMQ"
                    " applies only one of them",
                    key=dotted(("policies", name)),
                    remedy="Narrow the pattern, or choose another name; what the queue is to have"
                    " stands under queues.",
                )
