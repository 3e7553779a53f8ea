"""What will be regretted about policies: queues that they should not fit, and keys without effect."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from stem_amqp.durations import format_seconds
from stem_amqp.topology.caution import Caution, among
from stem_amqp.topology.entities import Policy
from stem_amqp.topology.mistake import Place, dotted
from stem_amqp.topology.planned import Planned, Role
from stem_amqp.topology.policies import matches

_LENGTHS = ("max-length", "max-length-bytes")
_NO_EFFECT: Mapping[str, frozenset[str]] = {
    "classic": frozenset(
        {
            "delivery-limit",
            "dead-letter-strategy",
            "target-group-size",
            "delayed-retry-type",
            "delayed-retry-min",
            "delayed-retry-max",
            "max-age",
            "stream-max-segment-size-bytes",
        }
    ),
    "quorum": frozenset({"max-age", "stream-max-segment-size-bytes"}),
    "stream": frozenset(
        {
            "message-ttl",
            "max-length",
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
    ),
}
"""What RabbitMQ takes of a policy and a queue of a type never looks at."""


def cautions(planned: Planned) -> Iterator[Caution]:
    """Yield what is probably not meant about ``policies`` and ``operator_policies``."""
    for place, policy in planned.written():
        fitting = planned.fitting(policy)
        yield from _nothing(planned, place, policy, fitting)
        yield from _too_wide(planned, place, policy, fitting)
        yield from _rivals(planned, place, policy, fitting)
        for roles, rule in _RULES:
            names = [name for name in fitting if planned.roles[name] in roles]
            if names:
                yield from rule(planned, place, policy, names)
        yield from _strategy(planned, place, policy, fitting)
        yield from _without_effect(planned, place, policy, fitting)


def _nothing(
    planned: Planned, place: Place, policy: Policy, fitting: list[str]
) -> Iterator[Caution]:
    passing = any(matches(policy, name, "quorum") for name in planned.passing())
    exchanges = {exchange.name for exchange in planned.entities.exchanges}
    exchanges |= {binding.source for binding in planned.entities.bindings}
    for_exchanges = policy.apply_to in {"exchanges", "all"}
    if fitting or passing or (for_exchanges and any(map(_found(policy), exchanges))):
        return
    what = "exchange" if policy.apply_to == "exchanges" else "queue"
    yield Caution(
        key=dotted((*place, "pattern")),
        problem=f"fits no {what} here: {policy.pattern}",
        remedy="Names on the broker begin with the namespace: write such as"
        r" '^{namespace}[.]orders$'. Name a queue of others under extra_queues, with external: true.",
    )


def _found(policy: Policy) -> Callable[[str], bool]:
    return lambda name: re.search(policy.pattern, name) is not None


def _too_wide(
    planned: Planned, place: Place, policy: Policy, fitting: list[str]
) -> Iterator[Caution]:
    """Yield a pattern that is one queue's name, and fits others that only contain it."""
    plain = re.sub(r"\\(.)|\[(.)\]", r"\1\2", policy.pattern.removeprefix("^").removesuffix("$"))
    prefix = f"{planned.names.namespace}."
    meant = next((name for name in (plain, prefix + plain) if name in fitting), None)
    others = [name for name in fitting if name != meant]
    if meant is not None and others:
        yield Caution(
            key=dotted((*place, "pattern")),
            problem=f"fits not only {meant}, but {among(others)} too",
            remedy=r"Write ^ before and $ behind the name, and [.] for a dot, which otherwise stands for"
            " any character.",
        )


def _rivals(
    planned: Planned, place: Place, policy: Policy, fitting: list[str]
) -> Iterator[Caution]:
    for name in fitting:
        for rival in planned.rivals(policy, name):
            if (rival.priority, rival.name) < (policy.priority, policy.name):
                continue  # told where the other one stands
            kind = "operator policy" if policy.operator else "policy"
            if rival.priority > policy.priority:
                problem = f"is not applied to {name}: {rival.name} has a higher priority"
            else:
                problem = f"fits {name} as well as {rival.name}, with the same priority"
            yield Caution(
                key=dotted(place),
                problem=f"{problem}. RabbitMQ applies only one {kind} to a queue, and nothing of the"
                " others",
                remedy="Narrow one of the patterns, or write all settings into the one that is"
                " applied.",
            )
            return


Rule = Callable[[Planned, Place, Policy, list[str]], Iterator[Caution]]


def _on_delays(
    planned: Planned, place: Place, policy: Policy, names: list[str]
) -> Iterator[Caution]:
    remedy = _apart(planned)
    for key in _LENGTHS:
        if key in policy.definition:
            yield Caution(
                key=dotted((*place, "definition", key)),
                problem=f"fits the delay queues ({among(names)}), which all queues share: once one is"
                " full, it refuses every retry, snooze and ETA of that length",
                remedy=remedy,
            )
    ttl = policy.definition.get("message-ttl")
    waits = {name: planned.queues[name].arguments["x-message-ttl"] for name in names}
    cut = [name for name, wait in waits.items() if ttl is not None and wait > ttl]
    if cut:
        shortest = min(waits[name] for name in cut) / 1000
        yield Caution(
            key=dotted((*place, "definition", "message-ttl")),
            problem=f"fits the delay queues ({among(cut)}), where the shorter of two times counts:"
            f" retries and ETAs that are {format_seconds(shortest)} and more away come too early",
            remedy=remedy,
        )


def _on_parking(
    planned: Planned, place: Place, policy: Policy, names: list[str]
) -> Iterator[Caution]:
    """Yield what loses messages out of queues that keep them for people to look at."""
    wanted = policy.definition
    ttl = wanted.get("message-ttl")
    losses = {
        "message-ttl": f"what is in it is dropped after {format_seconds((ttl or 0) / 1000)},"
        " without a word",
        "delivery-limit": "looking at what is in it uses it up: after so many looks RabbitMQ drops it",
    }
    if wanted.get("overflow") == "drop-head":
        losses["overflow"] = "when it is full, the oldest is lost, without a word"
    for key, loss in losses.items():
        if key in wanted:
            yield Caution(
                key=dotted((*place, "definition", key)),
                problem=f"fits {among(names)}, which keeps what failed: {loss}",
                remedy=f"{_apart(planned)} The keys of dead_letter say how long and how much is kept.",
            )


def _on_work(planned: Planned, place: Place, policy: Policy, names: list[str]) -> Iterator[Caution]:
    wanted = policy.definition
    for key in _LENGTHS:
        if key in wanted:
            yield Caution(
                key=dotted((*place, "definition", key)),
                problem=f"fits {among(names)}: a full queue refuses what comes out of the delay queues,"
                " which all queues share; 32 refused messages stop a delay queue for everyone",
                remedy="Remove it and alert on the queue's length, or make sure that it never fills.",
            )
    if "dead-letter-exchange" in wanted and planned.topology.settings == "arguments":
        yield Caution(
            key=dotted((*place, "definition", "dead-letter-exchange")),
            problem=f"has no effect on {among(names)}: the queue's own argument comes first",
            remedy="Remove it: a work queue dead-letters to its own dead-letter queue. To look at"
            ' dead letters, bind a queue to "{namespace}.dead".',
        )


def _on_any_of_ours(
    planned: Planned, place: Place, policy: Policy, names: list[str]
) -> Iterator[Caution]:
    if "expires" in policy.definition:
        after = format_seconds(policy.definition["expires"] / 1000)
        yield Caution(
            key=dotted((*place, "definition", "expires")),
            problem=f"fits {among(names)}: RabbitMQ deletes a queue that nobody consumed for {after}, with"
            " all that is in it, and dead-letters nothing",
            remedy=_apart(planned),
        )


_RULES: tuple[tuple[frozenset[Role], Rule], ...] = (
    (frozenset({"delay"}), _on_delays),
    (frozenset({"dead-letter", "unroutable"}), _on_parking),
    (frozenset({"work"}), _on_work),
    (frozenset({"work", "dead-letter", "unroutable", "delay"}), _on_any_of_ours),
)
"""What is looked at for which queues."""


def _apart(planned: Planned) -> str:
    names = planned.names
    return (
        f"Narrow the pattern so that it leaves out {names.namespace}.delay.*, *.dlq and"
        f" {names.unroutable}: name the queues that are meant, or put before it"
        r" (?!{namespace}[.](delay[.]|unroutable$|.*[.]dlq))."
    )


def _strategy(
    planned: Planned, place: Place, policy: Policy, fitting: list[str]
) -> Iterator[Caution]:
    """Yield at-least-once dead-lettering that RabbitMQ gives up without a word."""
    wanted = policy.definition
    key = "overflow" if "overflow" in wanted else "dead-letter-strategy"
    asks = wanted.get("dead-letter-strategy") == "at-least-once"
    if fitting:
        weak = [name for name in fitting if _weakened(planned, name, policy)]
        problem = f"{among(weak)} dead-letters at-most-once: " if weak else ""
    else:
        weak = [""] if asks and not _enough(wanted) else []
        problem = ""
    if weak:
        yield Caution(
            key=dotted((*place, "definition", key)),
            problem=f"{problem}RabbitMQ takes at-least-once only together with overflow: reject-publish"
            " and a dead-letter exchange, and otherwise loses dead letters without a word",
            remedy="Write overflow: reject-publish into the same policy, beside dead-letter-exchange.",
        )


def _enough(settings: Mapping[str, Any]) -> bool:
    return settings.get("overflow") == "reject-publish" and "dead-letter-exchange" in settings


def _weakened(planned: Planned, name: str, policy: Policy) -> bool:
    """Say whether at-least-once is asked for at a queue, and is not to be had by this policy."""
    named = {(one.name, one.operator) for one in planned.governing(name)}
    settings = planned.in_force(name)
    touched = {"overflow", "dead-letter-strategy"} & policy.definition.keys()
    return bool(
        touched
        and (policy.name, policy.operator) in named
        and planned.kind(name) == "quorum"
        and settings.get("x-dead-letter-strategy") == "at-least-once"
        and not _enough({key.removeprefix("x-"): value for key, value in settings.items()})
    )


def _without_effect(
    planned: Planned, place: Place, policy: Policy, fitting: list[str]
) -> Iterator[Caution]:
    kinds = {planned.kind(name) for name in fitting}
    for key in sorted(policy.definition):
        if kinds and all(key in _NO_EFFECT.get(kind, ()) for kind in kinds):
            yield Caution(
                key=dotted((*place, "definition", key)),
                problem=f"has no effect on a {' or '.join(sorted(kinds))} queue, such as {fitting[0]}",
                remedy="Remove it, or make the queue of another type.",
            )
